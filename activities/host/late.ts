// Runs on the worker that holds the sandbox. What is only here of a run that another execution has taken over, before it is removed.
import { checkpoint } from './checkpoint.ts'
import { type HostDeps, openRunState } from './deps.ts'
import { type Execution, openExecution } from './execution.ts'
import { ServerRefusal } from './server.ts'
import type { Transcript } from './transcript.ts'

/**
 * Hands over what this host has of a former execution and nobody else: its agent
 * may have worked on after the last checkpoint. Ends that agent. It joins the
 * run's history of checkpoints, for whoever wants to fork from it.
 * @throws when it could not be handed over: then this host is the only one that has it.
 */
export async function handOverLate(execution: Execution): Promise<void> {
  const { deps, ref, state } = execution
  const { execution: former, setupDone } = state.get()
  // Nothing was worked on here, or by a host of an older version, which did not note in which execution.
  if (former === 0 || !setupDone) return
  await deps.host.stop(ref.runId)
  const late = { ...execution, ref: { ...ref, execution: former }, transcript: toLog(execution) }
  const outcome = await checkpoint(late, { late: true }).finally(() => deps.host.stop(ref.runId))
  if (outcome === 'not stored') throw new Error('it could not be kept: see the warning before this one')
  deps.log.info({ run: ref.runId, execution: former, outcome }, 'what only this host had of the run is handed over')
}

/** The same for a run of which nothing but its files is known here. */
export async function handOverLateRun(deps: HostDeps, runId: string, signal: AbortSignal): Promise<void> {
  const { execution } = openRunState(deps.runsDirectory, runId).get()
  if (execution === 0) return
  const server = { ...deps.server, order: deps.server.lateOrder }
  const never = new AbortController().signal
  const ref = { runId, execution }
  try {
    await handOverLate(await openExecution({ ...deps, server }, ref, { interrupt: signal, detach: never }))
  } catch (error) {
    // Asked again, it would say the same.
    if (!(error instanceof ServerRefusal)) throw error
    deps.log.error({ run: runId, execution, err: error }, 'the server does not take what only this host had of the run')
  }
}

/** The transcript is the newer execution's. */
function toLog({ deps, ref }: Execution): Transcript {
  const { runId } = ref
  return {
    storedLine: async () => 0,
    record: async () => {},
    notes: () => ({ add: async (_kind, data) => deps.log.warn({ run: runId, ...data }, 'of a former execution') }),
  }
}
