// Runs on the worker that holds the sandbox. The end of a sandbox.
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { HostDeps } from './deps.ts'

/** Ends everything of the run that runs here. The workspace and the agent's state stay for a follow-up, or go too. */
export async function dispose(deps: HostDeps, ref: ExecutionRef, keepWorkspace: boolean): Promise<void> {
  if (keepWorkspace) await deps.host.stop(ref.runId)
  else await deps.host.remove(ref.runId)
  deps.log.info({ run: ref.runId, keepWorkspace }, 'the sandbox is gone')
}
