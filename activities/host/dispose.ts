// Runs on the worker that holds the sandbox. The end of a sandbox.
import type { ExecutionRef } from '../../workflows/contract.ts'
import { DetachedError, type StopSignals } from './attended.ts'
import { checkpoint, isAfterTurn, tellNotKept } from './checkpoint.ts'
import { type HostDeps, openRunState } from './deps.ts'
import { KEPT_TIMES } from './disk.ts'
import { openExecution } from './execution.ts'
import { clearSecrets } from './secrets.ts'
import { FencedError } from './server.ts'

/** Most checkpoints take a second or two; a server that is away holds no sandbox for longer. In milliseconds. */
const CHECKPOINT_MS = 120_000

/**
 * Ends everything of the run that runs here. The workspace and the agent's state
 * stay for a follow-up, or go too: where that is wanted, or they take far more
 * of the disk than they may.
 */
export async function dispose(deps: HostDeps, ref: ExecutionRef, keepWorkspace: boolean): Promise<void> {
  if (keepWorkspace) await deps.host.stop(ref.runId)
  const isKept = keepWorkspace && !(await isOverfull(deps, ref.runId))
  if (isKept) await clearSecrets(deps, ref.runId)
  else await deps.host.remove(ref.runId)
  deps.log.info({ run: ref.runId, keepWorkspace: isKept }, 'the sandbox is gone')
}

/** The disk is the other runs' as well. */
async function isOverfull({ host, runsDirectory }: HostDeps, runId: string): Promise<boolean> {
  const { exceeded } = openRunState(runsDirectory, runId).get()
  return exceeded !== null && (await host.diskUsage(runId)) > KEPT_TIMES * exceeded
}

/**
 * Before a sandbox is given up that was kept, or that no settlement reached: its
 * programs may have gone on after the last checkpoint. The workspace stays, so
 * one that cannot be made now is said, and holds nothing up.
 */
export async function checkpointBeforeEnd(deps: HostDeps, ref: ExecutionRef, signals: StopSignals): Promise<void> {
  const late = AbortSignal.timeout(CHECKPOINT_MS)
  const interrupt = AbortSignal.any([signals.interrupt, late])
  try {
    const execution = await openExecution(deps, ref, { ...signals, interrupt })
    // People may be waiting for an agent in the middle of a turn to end.
    if (!isAfterTurn(execution)) await deps.host.stop(ref.runId)
    await checkpoint(execution)
  } catch (error) {
    if (error instanceof DetachedError || signals.detach.aborted) throw error
    // Another execution works here already: what there is, is its.
    if (error instanceof FencedError) return
    deps.log.warn({ run: ref.runId, err: error }, 'no checkpoint could be taken of a sandbox that is given up')
    const execution = late.aborted ? null : await openExecution(deps, ref, signals).catch(() => null)
    if (execution !== null) await tellNotKept(execution).catch(() => {}) // The server may be what is away.
  }
}
