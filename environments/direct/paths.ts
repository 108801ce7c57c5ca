// The files of one generation's agent on the bare machine.
import { join } from 'node:path'
import type { RunPaths } from '../run-directory.ts'

/** `complete` says that everything else is there, and of what kind its boundary is; `stopped`, that the sandbox was ended and must not be used again. */
export function agentPaths(paths: Pick<RunPaths, 'agents'>, generation: number) {
  const root = join(paths.agents, String(generation))
  return {
    root,
    stdin: join(root, 'stdin'),
    stdout: join(root, 'stdout'),
    stderr: join(root, 'stderr'),
    own: join(root, 'own'),
    namespace: join(root, 'namespace'),
    complete: join(root, 'complete'),
    stopped: join(root, 'stopped'),
  }
}

export type AgentPaths = ReturnType<typeof agentPaths>
