// Runs on orchestrator workers. What the workflow has written down, each as one transaction.
import type { Config } from '../config.ts'
import type { BuiltEnvironment } from '../domain/figures.ts'
import { recordBuild } from '../store/builds/builds.ts'
import type { Db } from '../store/database.ts'
import { beginExecution, endAbandoned, recordSandbox } from '../store/runs/executions.ts'
import { acceptMail } from '../store/runs/mail.ts'
import { recordStates } from '../store/runs/states.ts'
import { recordReadingFailure } from '../store/skills/readings.ts'
import type { BuildRecords, OrchestratorActivities, SkillRecords, StateChange } from '../workflows/contract.ts'

export interface OrchestratorDeps {
  db: Db
  config: Pick<
    Config,
    | 'AMBIENT_IDLE_MINUTES'
    | 'AMBIENT_TURN_MINUTES'
    | 'AMBIENT_RUN_MINUTES'
    | 'AMBIENT_QUESTION_MINUTES'
    | 'AMBIENT_HOST_LOST_SECONDS'
    | 'AMBIENT_ATTEMPTS'
    | 'AMBIENT_WORKSPACE_HOURS'
  >
  /** Called with changes of a run's state that are news. The run does not wait for what is made of them. */
  onRecorded?: (news: readonly StateChange[]) => void
  /** Called for the end of each build. */
  onBuilt?: (build: BuiltEnvironment) => void
}

export function makeOrchestratorActivities({
  db,
  config,
  onRecorded = () => {},
  onBuilt = () => {},
}: OrchestratorDeps): OrchestratorActivities & BuildRecords & SkillRecords {
  const defaults = {
    idleMinutes: config.AMBIENT_IDLE_MINUTES,
    turnMinutes: config.AMBIENT_TURN_MINUTES,
    runMinutes: config.AMBIENT_RUN_MINUTES,
    questionMinutes: config.AMBIENT_QUESTION_MINUTES,
    hostLostSeconds: config.AMBIENT_HOST_LOST_SECONDS,
    attempts: config.AMBIENT_ATTEMPTS,
  }
  const workspaceHours = config.AMBIENT_WORKSPACE_HOURS
  return {
    beginExecution: (input) => beginExecution(db, input, defaults),
    async recordStates(changes) {
      const news = await recordStates(db, changes, workspaceHours)
      if (news.length > 0) onRecorded(news)
    },
    acceptMail: (input) => acceptMail(db, input),
    recordSandbox: (input) => recordSandbox(db, input, workspaceHours),
    endAbandoned: (input) => endAbandoned(db, input),
    async recordBuild(input) {
      const built = await recordBuild(db, input)
      if (built !== null) onBuilt(built)
    },
    recordReadingFailure: ({ readingId, failure }) => recordReadingFailure(db, readingId, failure),
  }
}
