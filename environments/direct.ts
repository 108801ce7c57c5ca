// The bare machine as a host: an agent is a process tree of the host's own user. No isolation, and so for trusted work alone.
import { execFile, spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Logger } from 'pino'
import { RunFailureError } from '../domain/failure.ts'
import { type Journal, ProcessEndedError, type ProcessExit } from '../domain/journal.ts'
import { fileJournal } from './file-journal.ts'
import { PROCESS_GATE } from './gate.ts'
import type { Host, JobSpec, ProgramSpec, Sandbox } from './host.ts'
import { createJobDirectory, jobPaths, openRegular, readExit, readMark } from './job-directory.ts'
import { endNamespace, firstProcess, holdNamespace, namespaceHolder, namespacesAllowed } from './namespace.ts'
import { isAlive, kill, markedProcesses, parseProcessRef, programOf, until } from './processes.ts'
import {
  createRunDirectory,
  exists,
  isErrno,
  listRunDirectories,
  type Owner,
  type RunPaths,
  removeRunDirectory,
  runPaths,
} from './run-directory.ts'
import { serialWriter } from './serial-writer.ts'

const run = promisify(execFile)

/** A gate writes its mark within milliseconds; a machine that needs longer is out of order. */
const START_MS = 10_000
/** Agents end within 120 ms of a SIGTERM and save their state; whoever does not is killed. */
const GRACE_MS = 1_500
const KILL_MS = 3_000
const FULL_PIPE_MS = 5

/** Where programs are looked for when the caller does not say. */
const STANDARD_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface DirectHostOptions {
  runsDirectory: string
  nodePath: string
  log: Logger
  /** Search path of the programs in the sandbox; absent, the system's directories. */
  path?: string | undefined
}

export async function createDirectHost(options: DirectHostOptions): Promise<Host> {
  const machine: Machine = {
    ...options,
    path: options.path ?? STANDARD_PATH,
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    writers: new Map(),
    namespaces: false,
  }
  machine.namespaces = await namespacesAllowed(machine.path)
  if (!machine.namespaces) {
    options.log.info('no PID namespaces for this user: processes of a run are found by their environment')
  }
  return {
    kind: 'direct',
    owner: machine.owner,
    runsAsRoot: machine.owner.uid === 0,
    loopback: '127.0.0.1',
    paths(runId, toolkit) {
      const { workspace, home } = runPaths(machine.runsDirectory, runId)
      return { workspace, home, toolkit: toolkit ?? '', node: machine.nodePath }
    },
    async open({ runId, generation }) {
      const paths = await createRunDirectory(machine.runsDirectory, runId, machine.owner)
      await createSandbox(machine, paths, generation)
      return sandbox(machine, runId, generation)
    },
    async find(runId, generation) {
      const { root } = agentPaths(runPaths(machine.runsDirectory, runId), generation)
      return (await exists(join(root, 'complete'))) ? sandbox(machine, runId, generation) : null
    },
    stop: (runId) => stop(machine, runId),
    async remove(runId) {
      await stop(machine, runId)
      await removeRunDirectory(machine.runsDirectory, runId)
    },
    async list() {
      const marked = await markedProcesses()
      const ids = await listRunDirectories(machine.runsDirectory)
      return Promise.all(
        ids.map(async (runId) => ({ runId, running: marked.has(runId) || (await hasNamespace(machine, runId)) })),
      )
    },
  }
}

interface Machine {
  runsDirectory: string
  nodePath: string
  path: string
  log: Logger
  owner: Owner
  namespaces: boolean
  /** The one writer of each agent's stdin, by the path of its pipe. */
  writers: Map<string, (text: string) => Promise<void>>
}

/** The files of one generation's agent. `stopped` says that the sandbox was ended and must not be used again. */
function agentPaths(paths: RunPaths, generation: number) {
  const root = join(paths.agents, String(generation))
  return {
    root,
    stdin: join(root, 'stdin'),
    stdout: join(root, 'stdout'),
    stderr: join(root, 'stderr'),
    own: join(root, 'own'),
    namespace: join(root, 'namespace'),
    stopped: join(root, 'stopped'),
  }
}

async function createSandbox(machine: Machine, paths: RunPaths, generation: number): Promise<void> {
  const agent = agentPaths(paths, generation)
  if (await exists(join(agent.root, 'complete'))) return
  await mkdir(agent.own, { recursive: true, mode: 0o700 })
  await Promise.all([
    makePipe(agent.stdin, machine.path),
    ...[agent.stdout, agent.stderr].map(async (path) => (await open(path, 'a', 0o600)).close()),
    machine.namespaces ? holdNamespace(agent.namespace, machine.path) : null,
  ])
  await writeFile(join(agent.root, 'complete'), '')
}

async function makePipe(path: string, searchPath: string): Promise<void> {
  if (await exists(path)) return
  await run('mkfifo', ['-m', '600', path], { env: { PATH: searchPath } }).catch(async (error: unknown) => {
    // Another caller may have been faster.
    if (!(await exists(path))) throw error
  })
}

function sandbox(machine: Machine, runId: string, generation: number): Sandbox {
  const paths = runPaths(machine.runsDirectory, runId)
  const agent = agentPaths(paths, generation)

  const journal = (): Journal => {
    const exit = () => exitOf(agent.own)
    let write = machine.writers.get(agent.stdin)
    if (write === undefined) {
      write = serialWriter((bytes) => writeToPipe(agent.stdin, bytes, async () => (await exit()) === null))
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

  const isRunning = async () => {
    if (await exists(agent.stopped)) return false
    if ((await exists(agent.namespace)) && (await namespaceHolder(agent.namespace)) === null) return false
    // As with a container, the sandbox lives until its agent ends.
    return (await readMark(agent.own, 'started')) === null || (await exitOf(agent.own)) === null
  }

  /** Starts a program through the gate, in the sandbox's namespace where it has one. */
  const start = async (program: ProgramSpec, own: string, stdio: FileHandle[], endsSandbox: boolean) => {
    if (!(await isRunning())) throw sandboxLost(generation)
    const holder = await namespaceHolder(agent.namespace)
    const inside = holder === null ? null : await firstProcess(holder)
    if (holder !== null && inside === null) throw sandboxLost(generation)
    const ends = endsSandbox && holder !== null ? [String(holder.pid), holder.since] : ['', '']
    const child = spawn(
      '/bin/sh',
      ['-c', PROCESS_GATE, 'ambient', own, program.cwd, String(inside ?? ''), ...ends, ...program.command],
      {
        cwd: '/',
        // Nothing of the worker's own environment: it holds the worker's secrets.
        env: {
          PATH: machine.path,
          LANG: 'C.UTF-8',
          HOME: paths.home,
          TMPDIR: paths.tmp,
          ...program.env,
          ...(endsSandbox ? {} : { AMBIENT_JOB_FILES: own }),
          AMBIENT_RUN: runId,
        },
        detached: true,
        stdio: stdio.map((file) => file.fd),
      },
    )
    child.unref()
    const failed = new Promise<never>((_, reject) => child.once('error', reject))
    const started = until(async () => (await readMark(own, 'started')) !== null, START_MS, 3)
    if (!(await Promise.race([started, failed]))) throw new Error(`the gate of ${own} did not start its program`)
  }

  return {
    runId,
    generation,
    isRunning,

    async startAgent(program) {
      if ((await readMark(agent.own, 'started')) === null) {
        // Read and write, so that the pipe never ends while the agent lives, whoever else closes it.
        await using stdin = await open(agent.stdin, constants.O_RDWR)
        await using stdout = await open(agent.stdout, 'a')
        await using stderr = await open(agent.stderr, 'a')
        await start(program, agent.own, [stdin, stdout, stderr], true)
      }
      return journal()
    },

    async agent() {
      return (await readMark(agent.own, 'started')) === null ? null : journal()
    },

    hasJob: (id) => hasJob(paths, id),

    async job(spec: JobSpec) {
      const job = jobPaths(paths.jobs, spec.id)
      if (!(await hasJob(paths, spec.id))) {
        await createJobDirectory(job, spec.stdin ?? '', machine.owner)
        await using stdin = await openRegular(job.stdin)
        await using output = await open(job.output, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW)
        await start(spec, job.own, [stdin, output, output], false)
      }
      return fileJournal({
        name: spec.id,
        output: job.output,
        errors: job.output,
        own: job.own,
        exit: () => exitOf(job.own),
      })
    },
  }
}

const hasJob = async (paths: RunPaths, id: string): Promise<boolean> =>
  (await readMark(jobPaths(paths.jobs, id).own, 'started').catch(missing)) !== null

const missing = (error: unknown): null => {
  if (isErrno(error, 'ENOENT')) return null
  throw error
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
async function exitOf(own: string): Promise<ProcessExit | null> {
  const said = await readExit(own)
  if (said !== null) return said
  const gate = parseProcessRef(await readMark(own, 'started'))
  if (gate !== null && (await isAlive(gate))) return null
  // Read again: it may have been written between the two looks.
  return (await readExit(own)) ?? { code: 137, outOfMemory: false }
}

/** The pipe is not blocking, so that an agent that does not read holds up nobody else. */
async function writeToPipe(path: string, bytes: Buffer, isOpen: () => Promise<boolean>): Promise<void> {
  const ended = () => new ProcessEndedError('the agent has ended')
  if (!(await isOpen())) throw ended()
  await using pipe = await open(path, constants.O_WRONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw isErrno(error, 'ENXIO') ? ended() : error
  })
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += (await pipe.write(bytes, sent)).bytesWritten
    } catch (error) {
      if (isErrno(error, 'EPIPE')) throw ended()
      if (!isErrno(error, 'EAGAIN')) throw error
      if (!(await isOpen())) throw ended()
      await delay(FULL_PIPE_MS)
    }
  }
}

async function generations(machine: Machine, runId: string): Promise<ReturnType<typeof agentPaths>[]> {
  const paths = runPaths(machine.runsDirectory, runId)
  const names = (await readdir(paths.agents).catch(missing)) ?? []
  return names.filter((name) => /^\d+$/.test(name)).map((name) => agentPaths(paths, Number(name)))
}

async function hasNamespace(machine: Machine, runId: string): Promise<boolean> {
  const holders = (await generations(machine, runId)).map((agent) => namespaceHolder(agent.namespace))
  return (await Promise.all(holders)).some((holder) => holder !== null)
}

async function stop(machine: Machine, runId: string): Promise<void> {
  const agents = await generations(machine, runId)
  for (const agent of agents) {
    await writeFile(agent.stopped, '')
    machine.writers.delete(agent.stdin)
  }
  await Promise.all(agents.map((agent) => askToEnd(agent.own)))
  for (const agent of agents) await endNamespace(agent.namespace)
  // Everything outside a namespace, and what a dead host process may have been about to start.
  const gone = await until(async () => {
    const marked = (await markedProcesses()).get(runId) ?? []
    for (const pid of marked) kill(pid, 'SIGKILL')
    return marked.length === 0 && !(await hasNamespace(machine, runId))
  }, KILL_MS)
  if (!gone) throw new Error(`processes of run ${runId} are still there ${KILL_MS} ms after they were killed`)
}

/** Lets the agent save its state: a SIGTERM, and a short time. */
async function askToEnd(own: string): Promise<void> {
  const gate = parseProcessRef(await readMark(own, 'started').catch(missing))
  if (gate === null || !(await isAlive(gate))) return
  const program = await programOf(gate.pid)
  if (program !== null) kill(program, 'SIGTERM')
  await until(async () => !(await isAlive(gate)), GRACE_MS)
}
