// Everything exported here is a workflow.
export { environmentBuild } from './build.ts'
export { agentRun } from './run.ts'
