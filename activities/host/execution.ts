// Runs on the worker that holds the sandbox. What the activities of one execution share.
import type { Agent } from '../../agents/agent.ts'
import { agents } from '../../agents/index.ts'
import { defaultPolicy, type PermissionPolicy } from '../../domain/harness.ts'
import type { ExecutionOrder } from '../../domain/host-api.ts'
import type { Redactor } from '../../domain/vault/redaction.ts'
import { repositoryPath } from '../../environments/git/repositories.ts'
import { ensureMounted } from '../../environments/prepared/overlay.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { StopSignals } from './attended.ts'
import { type HostDeps, openRunState, type RunStateFile } from './deps.ts'
import { redactorOf } from './secrets.ts'
import { createTranscript, type Transcript } from './transcript.ts'

/** Everything about an execution that its host activities share. */
export interface Execution {
  deps: HostDeps
  ref: ExecutionRef
  order: ExecutionOrder
  agent: Agent
  policy: PermissionPolicy
  state: RunStateFile
  transcript: Transcript
  /** What keeps the run's secret values out of all that is stored. */
  redactor: Redactor
  signals: StopSignals
  /** Aborts for either reason. */
  stop: AbortSignal
  /** An environment is built, by the code of runs. */
  isBuild?: true
}

/** `onFull` is called when the run's transcript has become larger than it may be. */
export async function openExecution(
  deps: HostDeps,
  ref: ExecutionRef,
  signals: StopSignals,
  onFull: (maxBytes: number) => void = () => {},
): Promise<Execution> {
  const stop = AbortSignal.any([signals.interrupt, signals.detach])
  const state = openRunState(deps.runsDirectory, ref.runId)
  const order = await deps.server.order(ref.runId, ref.execution, stop)
  const redactor = redactorOf(order)
  // The machine may have been started anew since.
  await ensureMounted(state.paths.root)
  return {
    deps,
    ref,
    order,
    agent: agents[order.agent],
    policy: order.policy ?? defaultPolicy(deps.host.kind),
    state,
    // An interrupted turn still stores how it ended, so only leaving stops the transcript.
    redactor,
    transcript: createTranscript(deps.server, ref, redactor, signals.detach, (bytes) => {
      if (order.transcript_bytes !== null && bytes > order.transcript_bytes) onFull(order.transcript_bytes)
    }),
    signals,
    stop,
  }
}

/** Agents work in the repository when there is just one, else above all of them. */
export function workingDirectory(workspace: string, order: ExecutionOrder): string {
  const [only, ...others] = order.environment.repos
  return only && others.length === 0 ? `${workspace}/${repositoryPath(only)}` : workspace
}
