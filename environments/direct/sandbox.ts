// One sandbox on the bare machine: a directory, a namespace where there may be one, and the process tree in it.
import { constants, mkdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import type { Logger } from 'pino'
import { RunFailureError } from '../../domain/failure.ts'
import type { Journal, ProcessExit } from '../../domain/journal.ts'
import { fileJournal } from '../file-journal.ts'
import { PROCESS_GATE, wrapped } from '../gate.ts'
import type { CallsFrom, JobSpec, ProgramSpec, Sandbox, SandboxSpec } from '../host.ts'
import { within } from '../inside-directory.ts'
import { createJobDirectory, JOB_OUTPUT_BYTES, jobPaths, readExit, readMark } from '../job-directory.ts'
import { firstProcess, holdNamespace, namespaceHolder } from '../namespace.ts'
import { onlyRegular, openDirectory, openRegular } from '../no-links.ts'
import { isAlive, parseProcessRef } from '../processes.ts'
import { exists, giveTo, type Owner, type RunPaths, runPaths } from '../run-directory.ts'
import type { RunLocks } from '../run-locks.ts'
import { serialWriter } from '../serial-writer.ts'
import type { Boundary } from './boundary.ts'
import type { Launcher, Stream } from './launcher.ts'
import { type AgentPaths, agentPaths } from './paths.ts'
import { makePipe, writeToPipe } from './pipe.ts'
import { MARK } from './stop.ts'

/** How a program has what it says to. */
const APPEND = constants.O_WRONLY | constants.O_APPEND

export interface Machine {
  runsDirectory: string
  nodePath: string
  path: string
  log: Logger
  owner: Owner
  /** Null where this user may make no namespaces. */
  boundary: Boundary | null
  locks: RunLocks
  launcher: Launcher
  /** The one writer of each agent's stdin, by the path of its pipe. */
  writers: Map<string, (text: string) => Promise<void>>
}

export async function createSandbox(
  machine: Machine,
  paths: RunPaths,
  { generation, toolkit }: Pick<SandboxSpec, 'generation' | 'toolkit'>,
): Promise<void> {
  const agent = agentPaths(paths, generation)
  if (exists(agent.complete)) return
  mkdirSync(agent.root, { recursive: true, mode: 0o700 })
  // The pipe of an agent that is to come. Where this makes none, the agent's start does.
  const pipe = toolkit === null ? null : agent.stdin
  if (machine.boundary !== null) {
    const make = await machine.boundary.make({ paths, agent, toolkit })
    await holdNamespace(machine.launcher, agent.namespace, machine.path, make, pipe)
  }
  writeFileSync(agent.complete, machine.boundary?.kind ?? 'none')
}

export function sandboxOf(machine: Machine, runId: string, generation: number): Sandbox {
  const { locks } = machine
  const paths = runPaths(machine.runsDirectory, runId)
  const agent = agentPaths(paths, generation)
  const isRunning = async () => isSandboxRunning(agent)
  const start = (program: ProgramSpec, own: string, stdio: Stream[], endsSandbox: boolean) =>
    startProgram(machine, { runId, generation, program, own, stdio, endsSandbox })

  const journal = (): Journal => {
    const exit = async () => exitOf(agent.own)
    let write = machine.writers.get(agent.stdin)
    if (write === undefined) {
      write = serialWriter((bytes) => writeToPipe(agent.stdin, bytes, () => exitOf(agent.own) === null))
      machine.writers.set(agent.stdin, write)
    }
    return fileJournal({
      name: `agent-${generation}`,
      output: agent.stdout,
      errors: agent.stderr,
      own: agent.own,
      exit,
      write,
    })
  }

  return {
    runId,
    generation,
    owner: machine.owner,
    isRunning,
    image: async () => null,
    callsFrom: async () => callsFrom(agent),

    startAgent: (program) =>
      locks.start(runId, async () => {
        if (readMark(agent.own, 'started') === null) {
          mkdirSync(agent.own, { recursive: true, mode: 0o700 })
          await makePipe(agent.stdin, machine.path)
          // Read and write, so that the pipe never ends while the agent lives, whoever else closes it.
          await using stdin = await open(agent.stdin, constants.O_RDWR)
          await using stdout = await open(agent.stdout, 'a', 0o600)
          await using stderr = await open(agent.stderr, 'a', 0o600)
          // Programs open their streams by name as well (/dev/stderr).
          for (const path of [agent.stdin, agent.stdout, agent.stderr]) giveTo(path, machine.owner)
          const append = (file: FileHandle) => ({ file, flags: APPEND })
          await start(
            program,
            agent.own,
            [{ file: stdin, flags: constants.O_RDWR }, append(stdout), append(stderr)],
            true,
          )
        }
        return journal()
      }),

    async agent() {
      return readMark(agent.own, 'started') === null ? null : journal()
    },

    hasJob: async (id) => hasJob(paths, id),

    job: (spec: JobSpec) =>
      locks.start(runId, async () => {
        const job = jobPaths(paths, spec.id)
        const { gate } = job
        if (!hasJob(paths, spec.id)) {
          createJobDirectory(job, spec.stdin ?? '', machine.owner)
          mkdirSync(gate, { recursive: true, mode: 0o700 })
          await using stdin = await openRegular(job.stdin)
          await using directory = await openDirectory(job.root)
          const flags = APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK
          // Nothing but a file: the launcher opens it once more, and would wait for whoever reads a pipe.
          await using output = await onlyRegular(await open(within(directory, basename(job.output)), flags), job.output)
          const said = { file: output, flags: APPEND }
          const program = { ...spec, env: { ...spec.env, AMBIENT_JOB_FILES: job.own } }
          await start(program, gate, [{ file: stdin, flags: constants.O_RDONLY }, said, said], false)
        }
        return fileJournal({
          name: spec.id,
          output: job.output,
          errors: job.output,
          own: gate,
          limit: JOB_OUTPUT_BYTES,
          exit: async () => exitOf(gate),
        })
      }),
  }
}

/** Without a namespace of its own a sandbox's processes are like all others of the machine. */
function callsFrom(agent: AgentPaths): CallsFrom {
  const holder = namespaceHolder(agent.namespace)
  const inside = holder === null ? null : firstProcess(holder)
  const id = inside === null ? null : namespaceOf(inside)
  return id === null ? { kind: 'machine' } : { kind: 'namespace', id }
}

function namespaceOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return null // It may just end.
  }
}

function isSandboxRunning(agent: AgentPaths): boolean {
  if (exists(agent.stopped)) return false
  if (exists(agent.namespace) && namespaceHolder(agent.namespace) === null) return false
  // As with a container, the sandbox lives until its agent ends.
  return readMark(agent.own, 'started') === null || exitOf(agent.own) === null
}

interface Start {
  runId: string
  generation: number
  program: ProgramSpec
  own: string
  stdio: Stream[]
  /** The sandbox ends with this program. */
  endsSandbox: boolean
}

/** Starts a program through the gate, in the sandbox's namespace where it has one. */
async function startProgram(
  machine: Machine,
  { runId, generation, program, own, stdio, endsSandbox }: Start,
): Promise<void> {
  const paths = runPaths(machine.runsDirectory, runId)
  const agent = agentPaths(paths, generation)
  if (!isSandboxRunning(agent)) throw sandboxLost(generation)
  const holder = namespaceHolder(agent.namespace)
  const inside = holder === null ? null : firstProcess(holder)
  if (holder !== null && inside === null) throw sandboxLost(generation)
  const ends = endsSandbox && holder !== null ? [String(holder.pid), holder.since] : ['', '']
  const marks = { AMBIENT_RUN: runId, [MARK]: paths.root }
  const enter = inside === null || machine.boundary === null ? [] : machine.boundary.enter(inside)
  await machine.launcher.launch({
    command: [
      ...['/bin/sh', '-c', PROCESS_GATE, 'ambient', own, program.cwd, enter.join(' '), ...ends],
      ...program.command,
    ],
    env: {
      PATH: machine.path,
      LANG: 'C.UTF-8',
      HOME: paths.home,
      TMPDIR: paths.tmp,
      ...marks,
      ...wrapped({ ...program.env, ...marks }),
    },
    stdio,
  })
  if (readMark(own, 'started') !== null) return
  if (!isSandboxRunning(agent)) throw sandboxLost(generation)
  throw new Error(`the gate of ${own} did not start its program`)
}

/** What its gate says is elsewhere than its files, and is left when those are removed. */
function hasJob(paths: RunPaths, id: string): boolean {
  const { root, gate } = jobPaths(paths, id)
  return readMark(gate, 'started') !== null && exists(root)
}

function sandboxLost(generation: number): RunFailureError {
  return new RunFailureError({
    code: 'sandbox_lost',
    phase: 'agent_start',
    message: `The sandbox (generation ${generation}) is not running any more.`,
    nextStep: 'Start the run again, or send a follow-up.',
  })
}

/** A program that was killed together with its gate leaves no exit code: 137, as a shell would say. */
function exitOf(own: string): ProcessExit | null {
  const said = readExit(own)
  if (said !== null) return said
  const gate = parseProcessRef(readMark(own, 'started'))
  if (gate !== null && isAlive(gate)) return null
  // Read again: it may have been written between the two looks.
  return readExit(own) ?? { code: 137, outOfMemory: false, lost: true }
}
