// Everything exported here is a workflow.
export { agentRun } from './run.ts'
