// What lies between a sandbox on the bare machine and the machine.
import { NEW_NAMESPACE } from '../namespace.ts'
import type { RunPaths } from '../run-directory.ts'
import type { AgentPaths } from './paths.ts'

export interface Boundary {
  readonly kind: Exclude<BoundaryKind, 'none'>
  /** Words that make it for the program that follows them. */
  make(sandbox: Inside): Promise<readonly string[]>
  /** Words that bring the program that follows them to where this process is. None has a space in it. */
  enter(pid: number): readonly string[]
}

/** `none`: a run's processes are known by their environment alone. */
export type BoundaryKind = 'none' | 'namespace' | 'bwrap'

/** What a sandbox is made over. */
export interface Inside {
  paths: Pick<RunPaths, 'workspace' | 'home' | 'tmp' | 'jobs'>
  agent: Pick<AgentPaths, 'root'>
  toolkit: string | null
}

/** Its processes end together; it hides nothing. */
export const namespaceBoundary: Boundary = {
  kind: 'namespace',
  make: async () => NEW_NAMESPACE,
  enter: (pid) => ['nsenter', '--target', String(pid), '--mount', '--pid', '--'],
}
