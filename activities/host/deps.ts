// Runs on the worker that holds the sandbox. What host activities are made with.
import type { Logger } from 'pino'
import { z } from 'zod'
import { DevcontainerChoice } from '../../environments/devcontainer/devcontainer.ts'
import type { GitAccess } from '../../environments/git/access.ts'
import type { Host } from '../../environments/host.ts'
import type { Beginner } from '../../environments/prepared/begin-from.ts'
import { Move } from '../../environments/prepared/catch-up.ts'
import type { Snapshots } from '../../environments/prepared/snapshots.ts'
import { type RunPaths, readState, runPaths, writeState } from '../../environments/run-directory.ts'
import type { HostMetrics } from '../../telemetry/host-metrics.ts'
import type { HostServer } from './server.ts'
import type { UsedEnvironments } from './used-environments.ts'

export interface HostDeps {
  hostId: string
  host: Host
  server: HostServer
  log: Logger
  runsDirectory: string
  agentsDirectory: string
  /** How this host gets at repositories. */
  git: GitAccess
  /** Finished set-ups that runs start from. */
  snapshots: Snapshots
  beginner: Beginner
  /** Environments that runs of this host have named lately. */
  environments: UsedEnvironments
  /** Where sandboxes of this host find the model gateway. */
  gatewayUrl: string
  /** Whether credentials for models are good in their sandbox alone. */
  bindsCredentials: boolean
  /** Where the host itself finds it, for the git broker. */
  brokerUrl: string
  /** Runs this host holds at once. */
  capacity: number
  metrics: HostMetrics
  /** The server has said that this host is to drain. */
  onDraining: () => void
  /** Most of the disk that one run may take, in bytes. */
  diskBytes: number
  /** Largest diff or bundle of one repository that is kept, in bytes. */
  resultBytes: number
  /** Largest checkpoint of one run, before it is compressed, in bytes. */
  checkpointBytes: number
}

/** A start from a prepared environment. */
const PreparedStart = z.discriminatedUnion('kind', [
  /** Its files are those of the snapshot; `at` has commits that its repositories are to come to. */
  z.object({ kind: z.literal('begun'), snapshot: z.uuid(), at: z.record(z.string(), z.string()) }),
  /** What is new was found out, and is to be put into the repositories. */
  z.object({ kind: z.literal('behind'), snapshot: z.uuid(), moves: z.array(Move) }),
  z.object({ kind: z.literal('done'), snapshot: z.uuid() }),
  /** It could not go on from there, and sets itself up. `remains`: the snapshot's files have to go first. */
  z.object({ kind: z.literal('given_up'), remains: z.boolean().default(false) }),
])

/** What people were told that a workspace is without. */
const Warning = z.object({ code: z.string(), message: z.string(), property: z.string().optional() })

/** What a host remembers of a run between activities. */
export const RunState = z.object({
  workspaceReady: z.boolean(),
  setupDone: z.boolean(),
  /** The latest sandbox of the run; 0 before the first one. */
  generation: z.number().int().min(0),
  /** The sandbox in which everything was made ready, by its generation; null where that was not noted. */
  readyIn: z.number().int().min(0).nullable().default(null),
  /** The agent's session, which a later sandbox loads again. */
  sessionId: z.string().nullable(),
  /** The sandbox whose agent has it open, by its generation. */
  sessionIn: z.number().int().min(0).default(0),
  /** Its agent takes pictures within a prompt. */
  takesImages: z.boolean().default(false),
  /** The agent's home as it saw it when the session was opened; null where that was not noted. */
  home: z.string().nullable().default(null),
  /** The session that has been given the base prompt. */
  greetedSession: z.string().nullable(),
  /** The message whose turn was begun last, and the one before it. */
  messageId: z.string().nullable(),
  previousMessageId: z.string().nullable(),
  /** The message is the first of its session, and is preceded by the base prompt. */
  opensSession: z.boolean(),
  /** The newest execution that this host has worked on; 0 where that was not noted. */
  execution: z.number().int().min(0).default(0),
  /** The commit that each repository was cloned at, by its path. */
  cloned: z.record(z.string(), z.string()).default({}),
  /** What HEAD stood for then, where that was a branch. */
  branches: z.record(z.string(), z.string()).default({}),
  /** Of what was warned while its workspace was made: by itself, or by the build that it begins from. */
  warned: z.array(Warning).default([]),
  /** How far the run is with its start from a prepared environment; null where it has set itself up. */
  prepared: PreparedStart.nullable().default(null),
  /** The sandbox whose programs reach the git broker, by its generation. */
  gitIn: z.number().int().min(0).default(0),
  /** A checkpoint is to be put over the workspace once it is set up. */
  restoring: z.boolean().default(false),
  /** The most of the disk that it might have taken when it took more, in bytes; null where it did not. */
  exceeded: z.number().nullable().default(null),
  /** What of its devcontainer.json the run works by, and who it is in its sandboxes where that is not the host's usual user; null before it was chosen. */
  devcontainer: z
    .object({
      choice: DevcontainerChoice,
      user: z.object({ uid: z.number().int(), gid: z.number().int() }).nullable(),
    })
    .nullable()
    .default(null),
})
export type RunState = z.infer<typeof RunState>

const FRESH: RunState = {
  workspaceReady: false,
  setupDone: false,
  generation: 0,
  readyIn: 0,
  sessionId: null,
  sessionIn: 0,
  takesImages: false,
  home: null,
  greetedSession: null,
  messageId: null,
  previousMessageId: null,
  opensSession: true,
  execution: 0,
  cloned: {},
  branches: {},
  warned: [],
  prepared: null,
  gitIn: 0,
  restoring: false,
  exceeded: null,
  devcontainer: null,
}

/** The run's lasting state on this host. One activity of a run works at a time; what it does at the same time is written in turn. */
export function openRunState(runsDirectory: string, runId: string) {
  const paths: RunPaths = runPaths(runsDirectory, runId)
  let current = readState(paths, RunState) ?? FRESH
  let written: Promise<unknown> = Promise.resolve()
  return {
    paths,
    get: () => current,
    async set(change: Partial<RunState>): Promise<void> {
      current = { ...current, ...change }
      const mine = written.then(() => writeState(paths, RunState, current))
      written = mine.catch(() => {}) // Told to whoever has changed it.
      await mine
    },
    /** The run's directory was removed. */
    forget(): void {
      current = FRESH
    },
  }
}

export type RunStateFile = ReturnType<typeof openRunState>
