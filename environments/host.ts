// What a machine that runs sandboxes can do. Two implementations: docker and direct.

import type { BlockedHost } from '../domain/egress.ts'
import type { Journal } from '../domain/journal.ts'
import type { ImageBuild } from './devcontainer/devcontainer.ts'
import type { Owner } from './run-directory.ts'

export interface SandboxSpec {
  runId: string
  /** Counts from 1 within the run: one sandbox holds one agent process, so an agent started again gets the next one. */
  generation: number
  /** Container image; null takes the host's default. Direct hosts ignore it. */
  image: string | null
  /** Who its programs are, and whom the run's files belong to; absent: {@link Host.owner}. */
  user?: Owner | undefined
  /** Path of the agent's installed program on this machine, mounted read-only; null where the harness needs none. */
  toolkit: string | null
  /** The hosts that its environment names, beside which it reaches nothing; absent: what the host's policy has. */
  egress?: { allow: readonly string[] } | undefined
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
  /** Where it finds the model gateway, if not where other sandboxes of the host do. */
  readonly gateway?: string | undefined
  /** Whom its files belong to, and those must that are put into it from outside. */
  readonly owner: Owner
  /** The agent's journal. Starts the agent unless this sandbox's agent has been started already. */
  startAgent(program: ProgramSpec): Promise<Journal>
  /** The agent's journal, if it was ever started. */
  agent(): Promise<Journal | null>
  /** Starts a job, or finds the one that was started under this id. Its journal's lines are its output. */
  job(spec: JobSpec): Promise<Journal>
  /** Whether a job was ever started under this id, so that {@link job} would find it. */
  hasJob(id: string): Promise<boolean>
  isRunning(): Promise<boolean>
  /** What it was made from; null where sandboxes have no image. */
  image(): Promise<SandboxImage | null>
  /** From where its calls come, as a model gateway on this machine sees them. Told once it runs. */
  callsFrom(): Promise<CallsFrom>
}

/**
 * `address`: a container's own. `pass`: through a relay, which says this. `namespace`:
 * processes of a PID namespace, by the name that the kernel has for it. `machine`: any process of this one.
 */
export type CallsFrom =
  | { kind: 'address'; address: string }
  | { kind: 'pass'; hash: string }
  | { kind: 'namespace'; id: string }
  | { kind: 'machine' }

export interface SandboxImage {
  /** As it was asked for. */
  name: string
  /** What that stood for: an image never changes under its id. */
  id: string
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

/** What can be made and known of images. */
export interface Images {
  /**
   * Makes the image of a Dockerfile in a workspace, given by its path on this
   * machine, unless the same was made here before. @returns its name
   */
  build(
    build: ImageBuild,
    options: {
      workspace: string
      /** Its steps reach nothing, whatever the host's settings allow them. */
      isolated: boolean
      signal: AbortSignal
      onLine(text: string): Promise<void>
    },
  ): Promise<string>
  /** The variables that an image brings. It is fetched where it is not here. */
  variables(image: string | null, signal: AbortSignal): Promise<Record<string, string>>
  /** A user of an image, by name or number. It is fetched where it is not here. */
  user(spec: { runId: string; image: string | null; name: string; signal: AbortSignal }): Promise<Owner>
  /** Why no sandbox may run as this user; null when it may. */
  refusal(user: Owner): string | null
}

export interface Host {
  readonly kind: 'docker' | 'direct'
  /** Who the programs of sandboxes are that name nobody else. */
  readonly owner: Owner
  /** The host's name or address by which a sandbox reaches a port on this machine. */
  readonly loopback: string
  /** What sandboxes reach at this moment: `failing` while the rules against private networks may not stand, and none is started. */
  egress(): 'public' | 'open' | 'failing'
  /** The model gateway as sandboxes find it, which they reach whatever else they do not. Told once, before the first sandbox. */
  setGateway(url: string): Promise<void>
  /** What a sandbox was refused of the outside, in the order of the first time. */
  blockedHosts(runId: string, generation: number): Promise<BlockedHost[]>
  /** Image of sandboxes that name none; null where they have none. */
  readonly image: string | null
  /** Null where sandboxes have none. */
  readonly images: Images | null
  paths(runId: string, toolkit: string | null): SandboxPaths
  /** The id of the image that a name stands for on this host at this moment; null when it is not here. */
  imageId(name: string): Promise<string | null>
  /**
   * Whether a sandbox of this image would find the file. What this process has
   * mounted may be hidden from them, where the host itself runs in a container.
   */
  sees(file: { directory: string; name: string }, image: string | null): Promise<boolean>
  /** The sandbox of this run and generation: found, or made. Idempotent. */
  open(spec: SandboxSpec): Promise<Sandbox>
  /** The sandbox of this run and generation if it is there, running or not. */
  find(runId: string, generation: number): Promise<Sandbox | null>
  /** Ends every process of the run, down to the last grandchild, within 5 s, and its sandboxes with them. The run's directory stays. */
  stop(runId: string): Promise<void>
  /** {@link stop}, and removes everything: containers, volumes, directories. Idempotent. */
  remove(runId: string): Promise<void>
  /**
   * Bytes of the disk that a run takes: its files, what its sandboxes have written elsewhere, and their journals. Very
   * many small files take the part of the disk that has as many entries for files.
   */
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
