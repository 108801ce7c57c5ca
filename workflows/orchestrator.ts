// The database, as the workflows see it. Workflow sandbox: no Node imports.
import { proxyLocalActivities } from '@temporalio/workflow'
import type { OrchestratorActivities } from './contract.ts'
import { orchestratorOptions } from './options.ts'

export const orchestrator = proxyLocalActivities<OrchestratorActivities>(orchestratorOptions)
