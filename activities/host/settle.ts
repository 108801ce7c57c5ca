// Runs on the worker that holds the sandbox. The end of an execution, in order; every step may be repeated.
import { Context } from '@temporalio/activity'
import type { HostActivities } from '../../workflows/contract.ts'
import { takeAsked } from './asked.ts'
import type { StopSignals } from './attended.ts'
import { tellBlockedHosts } from './blocked-hosts.ts'
import { checkpoint, tellNotKept } from './checkpoint.ts'
import { collect, tellNotCollected } from './collect.ts'
import type { HostDeps } from './deps.ts'
import { dispose } from './dispose.ts'
import { type Execution, openExecution } from './execution.ts'
import { FencedError, ServerRefusal } from './server.ts'

/** A work product that cannot be read this often is given up: a sandbox must not stay for it. */
const COLLECT_ATTEMPTS = 4

export async function settle(
  deps: HostDeps,
  input: Parameters<HostActivities['settle']>[0],
  signals: StopSignals,
): Promise<void> {
  const { stop, collect: hasWorked, sandbox, keepWorkspace, push = true, ...ref } = input
  if (stop) await deps.host.stop(ref.runId)
  const execution = hasWorked ? await openExecution(deps, ref, signals) : null
  if (execution !== null && !neverCameUp(execution)) {
    // One that ended by itself has had its wishes heard with its last turn.
    if (stop) await unlessHopeless(execution, async () => void (await takeAsked(execution)))
    // Its last attempts may have come with the end of the last turn.
    await tellBlockedHosts(execution, [])
    let isCollected = false
    await deps.metrics.phase('collect', () =>
      unlessHopeless(execution, async () => {
        await collect(execution, push)
        isCollected = true
      }),
    )
    if (!isCollected) await tellNotCollected(execution)
    // A follow-up may come when this host is gone.
    if (keepWorkspace) await keepOffThisHost(execution)
  }
  if (sandbox === 'give_up') await deps.metrics.phase('dispose', () => dispose(deps, ref, keepWorkspace))
}

/** A sandbox may have failed to come up after the claim was answered: no agent has worked in any then. */
function neverCameUp({ state }: Execution): boolean {
  const { workspaceReady, readyIn } = state.get()
  return workspaceReady && readyIn === 0
}

/** One that cannot be made is said to those who rely on it. */
async function keepOffThisHost(execution: Execution): Promise<void> {
  let isKept = false
  await unlessHopeless(execution, async () => {
    await checkpoint(execution)
    isKept = true
  })
  if (!isKept) await tellNotKept(execution)
}

async function unlessHopeless({ deps, ref, stop }: Execution, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (stop.aborted || error instanceof FencedError) throw error
    // What the agent has left running may be what stands in the way: the next attempt has a sandbox of its own. A server
    // that refuses what it is sent has nothing to do with it.
    if (!(error instanceof ServerRefusal)) await deps.host.stop(ref.runId)
    if (Context.current().info.attempt < COLLECT_ATTEMPTS) throw error
    deps.log.error({ run: ref.runId, err: error }, 'what the run has done could not be stored; its workspace is kept')
  }
}
