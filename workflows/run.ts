// The life of a run. Workflow sandbox: no Node imports, no clock but Date.now(), no I/O.
import {
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow'
import {
  type AgentRunInput,
  type ExecutionPlan,
  type HostActivities,
  hostQueue,
  MAIL_SIGNAL,
  type Mail,
  type RunStatus,
  STATE_QUERY,
} from './contract.ts'
import { Execution, type Unfinished } from './execution.ts'
import { isLong } from './length.ts'
import { Mailbox } from './mailbox.ts'
import { settleOptions } from './options.ts'
import { orchestrator } from './orchestrator.ts'

const mailSignal = defineSignal<[Mail]>(MAIL_SIGNAL)
const stateQuery = defineQuery<RunStatus>(STATE_QUERY)

/**
 * One run, from its first message to the moment nothing of it is left running.
 * Each round of the loop is one execution: a stretch of work in one sandbox. It
 * ends with a terminal state, or another execution goes on with what it had in
 * hand: its host or its sandbox was lost, or a question took so long that its
 * sandbox was given up. A message that arrives while a sandbox is kept begins the
 * next execution in it; one that arrives later starts this workflow again.
 */
export async function agentRun({ runId, carried }: AgentRunInput): Promise<void> {
  const mailbox = new Mailbox(carried?.mailbox)
  const status: RunStatus = { state: 'QUEUED', execution: 0, queuedMessages: 0, openQuestions: [] }
  setHandler(mailSignal, (mail) => mailbox.receive(mail))
  setHandler(stateQuery, () => ({ ...status, queuedMessages: mailbox.promptIds.length }))

  let round = carried?.round ?? 0
  let unfinished: Unfinished | null = null
  let execution = carried?.execution ? Execution.resume(runId, carried.execution, mailbox, status) : null
  for (;;) {
    if (execution === null) {
      const plan = await nextPlan(unfinished)
      if (plan === null) return
      execution = new Execution(runId, plan, mailbox, status)
    }
    if (!execution.isKept) {
      const result = await execution.carryOut(unfinished?.turn ?? null)
      if (result === 'long') return await goOnAsNew(execution)
      unfinished = result === 'ended' ? null : result
    }
    if (unfinished === null) {
      if (execution.isKept) {
        if (isLong(mailbox)) return await goOnAsNew(execution)
        await execution.keepForFollowUp()
        await execution.giveUpSandbox()
      }
      if (CancellationScope.current().consideredCancelled || mailbox.promptIds.length === 0) return
    }
    execution = null
  }

  /** Of the next execution; null when there is nothing to do. */
  async function nextPlan(goesOn: Unfinished | null): Promise<ExecutionPlan | null> {
    for (;;) {
      if (goesOn === null) {
        const somethingCame = () => mailbox.promptIds.length > 0 || mailbox.cancelReason !== null
        // Most workflows are started with their first message.
        if (!somethingCame()) await condition(somethingCame)
        if (mailbox.promptIds.length === 0) {
          await endAbandoned(runId, round, mailbox.cancelReason ?? '')
          // A message that came meanwhile is a follow-up on what is over now.
          if (mailbox.promptIds.length === 0) return null
        }
        mailbox.forgetLateCancel()
      }
      round += 1
      const asked = mailbox.promptIds
      const key = `${workflowInfo().firstExecutionRunId}/${round}`
      const plan = await CancellationScope.nonCancellable(() =>
        orchestrator.beginExecution({ runId, key, mail: asked, goesOn: goesOn?.because }),
      )
      if (plan !== null) {
        for (const prompt of plan.unread) mailbox.receive(prompt)
        if (plan.takes !== null) mailbox.forget([plan.takes])
        return plan
      }
      // An earlier workflow has dealt with these. What came meanwhile has not been asked about.
      mailbox.forget(asked)
      if (mailbox.promptIds.length === 0) return null
    }
  }

  async function goOnAsNew(current: Execution): Promise<never> {
    const progress = await CancellationScope.nonCancellable(() => current.progress())
    return await continueAsNew<typeof agentRun>({
      runId,
      carried: { mailbox: mailbox.state, round, ...(progress ? { execution: progress } : {}) },
    })
  }
}

/** Somebody cancels a run whose workflow was terminated: it is over now, and what it left is removed. */
async function endAbandoned(runId: string, round: number, reason: string): Promise<void> {
  await CancellationScope.nonCancellable(async () => {
    const key = `${workflowInfo().firstExecutionRunId}/abandoned/${round}`
    const left = await orchestrator.endAbandoned({ runId, key, reason })
    if (left === null) return
    const { hostId, ...ref } = left
    const host = proxyActivities<HostActivities>({ ...settleOptions(ABANDONED_WAIT_S), taskQueue: hostQueue(hostId) })
    // A host that is away removes it by its own sweep.
    await host.dispose({ ...ref, keepWorkspace: true }).catch(() => {})
    await orchestrator.recordSandbox({ ...ref, running: false, workspaceKept: true })
  })
}

const ABANDONED_WAIT_S = 60
