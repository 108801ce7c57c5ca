// Runs on the worker that holds the sandbox. Work that ends when its run takes more than it may.
import { type RunFailure, RunFailureError } from '../../domain/failure.ts'
import type { Phase } from '../../domain/state.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { StopSignals } from './attended.ts'
import { watchBlockedHosts } from './blocked-hosts.ts'
import type { HostDeps } from './deps.ts'
import { KEPT_TIMES, watchDisk } from './disk.ts'
import { type Execution, openExecution } from './execution.ts'
import { redacting } from './secrets.ts'

/** Opens the execution for work that is interrupted when the run exceeds a limit, and fails for that then. */
export async function withinLimits<T>(
  deps: HostDeps,
  { phase, ...ref }: ExecutionRef & { phase: Phase },
  signals: StopSignals,
  work: (execution: Execution) => Promise<T>,
): Promise<T> {
  return await interruptible(signals, async (bounded, exceed) => {
    const execution = await openExecution(deps, ref, bounded, (bytes) => exceed(transcriptTooLarge(bytes, phase)))
    const maxBytes = Math.min(execution.order.disk_bytes ?? deps.diskBytes, deps.diskBytes)
    const { exceeded: former, workspaceReady } = execution.state.get()
    // A checkpoint may hold more than the run may take, and only a turn can do something about it.
    const isRestored = !workspaceReady && execution.order.has_checkpoint
    const watched = { maxBytes: isRestored ? KEPT_TIMES * maxBytes : maxBytes, wasOver: former !== null }
    const stopWatching = watchDisk(deps, { runId: ref.runId, phase, ...watched }, exceed)
    const stopTelling = watchBlockedHosts(execution)
    try {
      return await redacting(execution.redactor, () => work(execution))
    } finally {
      const exceeded = stopWatching() || isRestored ? maxBytes : null
      if (exceeded !== execution.state.get().exceeded) await execution.state.set({ exceeded })
      await stopTelling()
    }
  })
}

/**
 * Work that may be interrupted by a failure. It is the interrupt's reason, so
 * whatever gives way to it ends with that; the first one counts.
 */
export async function interruptible<T>(
  signals: StopSignals,
  work: (signals: StopSignals, exceed: (failure: RunFailure) => void) => Promise<T>,
): Promise<T> {
  const exceeded = new AbortController()
  const bounded = { ...signals, interrupt: AbortSignal.any([signals.interrupt, exceeded.signal]) }
  try {
    const result = await work(bounded, (failure) => exceeded.abort(new RunFailureError(failure)))
    exceeded.signal.throwIfAborted()
    return result
  } catch (error) {
    // It may have failed of being interrupted. That people or the server want it to stop comes first.
    if (exceeded.signal.aborted && !signals.interrupt.aborted && !signals.detach.aborted) throw exceeded.signal.reason
    throw error
  }
}

const transcriptTooLarge = (maxBytes: number, phase: Phase): RunFailure => ({
  code: 'transcript_limit',
  phase,
  message: `The transcript has reached the ${Math.round(maxBytes / 1024 ** 2)} MiB that it may have. What the agent said after that is not in it.`,
  nextStep:
    'What it has done is kept with the run: start another one from there. The limit is max_transcript_mb of the run, or AMBIENT_TRANSCRIPT_MB of the server.',
})
