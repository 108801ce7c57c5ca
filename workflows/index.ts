// Everything exported here is a workflow.
export { environmentBuild } from './build.ts'
export { pullRequests } from './pull-requests.ts'
export { agentRun } from './run.ts'
export { scheduleSlot } from './schedule.ts'
export { skillReading } from './skills.ts'
