// The baseline of the throughput: a workflow of three activities that do nothing. Workflow sandbox: no Node imports.
import { proxyActivities } from '@temporalio/workflow'
import type { rawActivities } from './raw-worker.ts'

export const RAW_WORKFLOWS = 'bench-raw-workflows'
export const RAW_ACTIVITIES = 'bench-raw-activities'

export async function rawRun({ runId }: { runId: string }): Promise<void> {
  const { take, work, end } = proxyActivities<typeof rawActivities>({
    taskQueue: RAW_ACTIVITIES,
    startToCloseTimeout: '30s',
    heartbeatTimeout: '30s',
  })
  const { hostId } = await take({ runId })
  await work({ runId, hostId })
  await end({ runId, hostId })
}
