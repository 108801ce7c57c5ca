// Opens the pull requests of a run: as it ends, and for as long afterwards as that can help. Workflow sandbox: no Node imports, no I/O.
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import {
  ActivityFailure,
  condition,
  defineSignal,
  ParentClosePolicy,
  patched,
  proxyActivities,
  setHandler,
  startChild,
} from '@temporalio/workflow'
import type { TerminalState } from '../domain/state.ts'
import {
  AGAIN_SIGNAL,
  type ExecutionRef,
  ORCHESTRATOR_QUEUE,
  type PullRequestActivities,
  type PullRequestsInput,
  pullRequestsWorkflowId,
} from './contract.ts'
import { firstPullRequestOptions, pullRequestOptions } from './options.ts'

const againSignal = defineSignal(AGAIN_SIGNAL)

/** A forge that is away this long is given up, until somebody asks. In milliseconds. */
const GIVE_UP_MS = 24 * 60 * 60_000
/** Between two attempts, where the forge does not say: the first pause, which doubles, and the longest. */
const FIRST_PAUSE_MS = 5_000
const LONGEST_PAUSE_MS = 15 * 60_000

/**
 * The first attempt, before the run says that it has ended: whoever sees that
 * finds its pull request there. A forge that is away holds no run up: then a
 * workflow of its own goes on, whatever becomes of this one.
 */
export async function openPullRequests(ref: ExecutionRef, ends: TerminalState): Promise<void> {
  const afterSeconds = await firstAttempt(ref.runId, ends)
  if (afterSeconds === null) return
  try {
    await startChild<typeof pullRequests>('pullRequests', {
      args: [{ ...ref, afterSeconds }],
      workflowId: pullRequestsWorkflowId(ref),
      parentClosePolicy: ParentClosePolicy.ABANDON,
    })
  } catch (error) {
    // Somebody has asked for them in this moment.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
  }
}

/** Null when nothing is left to do; else the seconds until the next attempt. */
async function firstAttempt(runId: string, ends: TerminalState): Promise<number | null> {
  const activities = proxyActivities<PullRequestActivities>({
    ...firstPullRequestOptions,
    taskQueue: ORCHESTRATOR_QUEUE,
  })
  try {
    const paths = await activities.findPullRequests({ runId })
    const outcomes = await Promise.all(
      paths.map((path) => activities.openPullRequest({ runId, path, last: false, ends })),
    )
    const pauses = outcomes.flatMap((outcome) => (outcome.kind === 'again' ? [outcome.afterSeconds ?? 0] : []))
    return pauses.length === 0 ? null : Math.min(...pauses)
  } catch (error) {
    // Neither forge nor database came to an end in the time there was.
    if (!(error instanceof ActivityFailure)) throw error
    return 0
  }
}

/** Beside the run and after its end. Somebody who asks for them again cuts a pause short. */
export async function pullRequests({ runId, afterSeconds }: PullRequestsInput): Promise<void> {
  const activities = proxyActivities<PullRequestActivities>(pullRequestOptions)
  let asked = 0
  setHandler(againSignal, () => {
    asked += 1
  })
  if (afterSeconds !== undefined) {
    // Whoever has asked before this began has asked since the attempt that failed. Older histories wait all the same.
    const before = patched('asked-before-the-wait') ? 0 : asked
    await pause(Math.max(FIRST_PAUSE_MS, afterSeconds * 1000), before)
  }
  for (let seen = -1; seen !== asked; ) {
    seen = asked
    const paths = await activities.findPullRequests({ runId })
    await Promise.all(paths.map(untilSettled))
  }

  async function untilSettled(path: string): Promise<void> {
    const end = Date.now() + GIVE_UP_MS
    for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(wait * 2, LONGEST_PAUSE_MS)) {
      const last = Date.now() >= end
      const before = asked
      const outcome = await activities.openPullRequest({ runId, path, last })
      if (outcome.kind === 'settled') return
      await pause(Math.max(wait, (outcome.afterSeconds ?? 0) * 1000), before)
    }
  }

  /** `before`: how often it was asked for when the attempt began. Whoever asks during one may have mended what it failed of. */
  async function pause(milliseconds: number, before: number): Promise<void> {
    await condition(() => asked > before, milliseconds)
  }
}
