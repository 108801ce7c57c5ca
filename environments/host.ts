// What a machine that runs sandboxes can do. Two implementations: docker and direct.
import type { Journal } from '../domain/journal.ts'

export interface SandboxSpec {
  runId: string
  /** Counts from 1 within the run: one sandbox holds one agent process, so an agent started again gets the next one. */
  generation: number
  /** Container image; null takes the host's default. Direct hosts ignore it. */
  image: string | null
  /** Path of the agent's installed program on this machine, mounted read-only; null where the harness needs none. */
  toolkit: string | null
  /** Ends what may take minutes: the fetching of an image. Its reason is thrown. */
  signal?: AbortSignal
}

/** A program to be started in a sandbox. */
export interface ProgramSpec {
  command: readonly string[]
  /** Added to the sandbox's own environment. May hold secrets, so it must never reach argv, `inspect`, images or disk. */
  env: Readonly<Record<string, string>>
  /** As seen inside the sandbox. */
  cwd: string
}

/** A program that runs beside the agent: a set-up command, a command agent, the collection of the diff. */
export interface JobSpec extends ProgramSpec {
  /** Unique within the run. A second start under the same id is the same job: it is followed, not run again. */
  id: string
  /** Written to its stdin, then closed; absent, stdin is empty. */
  stdin?: string | undefined
}

/** One container, or one process tree on the bare machine. */
export interface Sandbox {
  readonly runId: string
  readonly generation: number
  /** The agent's journal. Starts the agent unless this sandbox's agent has been started already. */
  startAgent(program: ProgramSpec): Promise<Journal>
  /** The agent's journal, if it was ever started. */
  agent(): Promise<Journal | null>
  /** Starts a job, or finds the one that was started under this id. Its journal's lines are its output. */
  job(spec: JobSpec): Promise<Journal>
  /** Whether a job was ever started under this id, so that {@link job} would find it. */
  hasJob(id: string): Promise<boolean>
  isRunning(): Promise<boolean>
}

/** Paths as a program in the sandbox sees them. */
export interface SandboxPaths {
  workspace: string
  home: string
  /** Where {@link SandboxSpec.toolkit} is seen. */
  toolkit: string
  /** A Node.js 24 for agents that need one. */
  node: string
}

export interface Host {
  readonly kind: 'docker' | 'direct'
  /** Whom files must belong to that are put into a sandbox from outside. */
  readonly owner: { uid: number; gid: number }
  /** True when agents run as root inside the sandbox, which some agents must be told. */
  readonly runsAsRoot: boolean
  /** The host's name or address by which a sandbox reaches a port on this machine. */
  readonly loopback: string
  paths(runId: string, toolkit: string | null): SandboxPaths
  /** The sandbox of this run and generation: found, or made. Idempotent. */
  open(spec: SandboxSpec): Promise<Sandbox>
  /** The sandbox of this run and generation if it is there, running or not. */
  find(runId: string, generation: number): Promise<Sandbox | null>
  /** Ends every process of the run, down to the last grandchild, within 5 s, and its sandboxes with them. The run's directory stays. */
  stop(runId: string): Promise<void>
  /** {@link stop}, and removes everything: containers, volumes, directories. Idempotent. */
  remove(runId: string): Promise<void>
  /** Bytes of the disk that a run takes: its files, what its sandboxes have written elsewhere, and their journals. */
  diskUsage(runId: string): Promise<number>
  /** Which of these directories, given as toolkits, sandboxes work from at this moment. */
  worksFrom(toolkits: readonly string[]): Promise<ReadonlySet<string>>
  /**
   * Removes images that this host has fetched, those unused longest first, until
   * the others take no more of the disk than this. @returns their names.
   */
  trimImages(maxBytes: number): Promise<string[]>
  /** Runs of which this host still has anything: a container, a process, a directory. `running` is true where {@link stop} would end or remove something. */
  list(): Promise<{ runId: string; running: boolean }[]>
}
