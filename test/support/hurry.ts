// Loaded with the workflows where a test has no hour: an activity that may take hours may take as many seconds. Workflow sandbox: no Node imports.
import { msToNumber } from '@temporalio/common/lib/time.js'
import type { ActivityInput, Next, WorkflowInterceptors, WorkflowOutboundCallsInterceptor } from '@temporalio/workflow'

const HOUR = 60 * 60_000

const hurried = (name: 'startToCloseTimeout' | 'scheduleToCloseTimeout', { options }: ActivityInput) => {
  const ms = msToNumber(options[name] ?? 0)
  return ms < HOUR ? {} : { [name]: Math.ceil(ms / 3_600) }
}

const outbound: WorkflowOutboundCallsInterceptor = {
  scheduleActivity(input: ActivityInput, next: Next<WorkflowOutboundCallsInterceptor, 'scheduleActivity'>) {
    const limits = { ...hurried('startToCloseTimeout', input), ...hurried('scheduleToCloseTimeout', input) }
    return next({ ...input, options: { ...input.options, ...limits } })
  },
}

export const interceptors = (): WorkflowInterceptors => ({ outbound: [outbound] })
