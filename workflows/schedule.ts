// One time of a schedule. Workflow sandbox: no Node imports, no clock but Date.now(), no I/O.
import {
  CancellationScope,
  CancelledFailure,
  condition,
  defineSignal,
  proxyLocalActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow'
import { type ScheduleRecords, type ScheduleSlotInput, SLOT_OVER_SIGNAL, slotOfWorkflow } from './contract.ts'
import { orchestratorOptions } from './options.ts'

const { beginSlot, cancelSlot } = proxyLocalActivities<ScheduleRecords>(orchestratorOptions)

const overSignal = defineSignal(SLOT_OVER_SIGNAL)

/**
 * Has the run of one slot begun, and stays until it is over: what Temporal does
 * when the next slot comes goes by whether this workflow is still there. It is
 * told of the run's end; until then nothing is done for it. To cancel it is to
 * cancel the run.
 */
export async function scheduleSlot({ scheduleId, jitterSeconds }: ScheduleSlotInput): Promise<void> {
  let isOver = false
  setHandler(overSignal, () => {
    isOver = true
  })
  const slot = { scheduleId, slot: slotOfWorkflow(workflowInfo().workflowId) }
  const later = laterBy(Date.parse(slot.slot), jitterSeconds)
  try {
    if (later > 0) await condition(() => isOver, later)
    const isThere = await CancellationScope.nonCancellable(() => beginSlot(slot))
    if (isThere) await condition(() => isOver)
  } catch (error) {
    if (!(error instanceof CancelledFailure)) throw error
    await CancellationScope.nonCancellable(async () => {
      if (await cancelSlot(slot)) await condition(() => isOver)
    })
  }
}

/** How long a slot waits by chance, in milliseconds. One that comes late, or is made up for, need not. */
function laterBy(slot: number, jitterSeconds: number): number {
  const most = jitterSeconds * 1_000
  return Date.now() - slot < most ? Math.floor(Math.random() * most) : 0
}
