// Runs on orchestrator workers. What the workflow has written down, each as one transaction.
import type { Config } from '../config.ts'
import type { Db } from '../store/database.ts'
import { beginExecution, recordSandbox } from '../store/executions.ts'
import { acceptMail } from '../store/mail.ts'
import { recordState } from '../store/states.ts'
import type { OrchestratorActivities } from '../workflows/contract.ts'

export interface OrchestratorDeps {
  db: Db
  config: Pick<Config, 'AMBIENT_IDLE_MINUTES' | 'AMBIENT_TURN_MINUTES' | 'AMBIENT_WORKSPACE_HOURS'>
}

export function makeOrchestratorActivities({ db, config }: OrchestratorDeps): OrchestratorActivities {
  const defaults = { idleMinutes: config.AMBIENT_IDLE_MINUTES, turnMinutes: config.AMBIENT_TURN_MINUTES }
  return {
    beginExecution: (input) => beginExecution(db, input, defaults),
    recordState: (change) => recordState(db, change),
    acceptMail: (input) => acceptMail(db, input),
    recordSandbox: (input) => recordSandbox(db, input, config.AMBIENT_WORKSPACE_HOURS),
  }
}
