// Jobs in a container, each behind a gate, with output and exit code in files: from the container's first process where
// the line to it is open and no agent has taken its place, by `docker exec` else, which takes ten times as long.
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type Docker from 'dockerode'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import type { Journal, ProcessExit } from '../../domain/journal.ts'
import { fileJournal } from '../file-journal.ts'
import { helloLine, JOB_GATE, jobAnswer, jobLine, startLine } from '../gate.ts'
import type { JobSpec } from '../host.ts'
import { within } from '../inside-directory.ts'
import {
  createJobDirectory,
  JOB_OUTPUT_BYTES,
  type JobPaths,
  jobPaths,
  readBounded,
  readExit,
  readMark,
} from '../job-directory.ts'
import { openDirectory } from '../no-links.ts'
import type { Owner, RunPaths } from '../run-directory.ts'
import { inside } from './container.ts'
import { type Killer, orKill } from './container-processes.ts'
import { ask, askFor, messageOf, statusOf } from './daemon.ts'
import type { FirstLine } from './first-line.ts'

/** A gate answers within milliseconds; a machine that needs longer is out of order. */
const ANSWER_MS = 30_000
/** The container's first process may have been stopped: then it is the daemon's turn. */
const LINE_MS = 10_000
/** What was left in a sandbox can keep the daemon from ever starting anything there. In milliseconds. */
const START_MS = 25_000
/** Pieces of at most 64 KiB; the gate says one word. */
const ANSWER_CHUNKS = 16
/** How late it may be noticed that a job went down without an exit code; and where it has no exec, and its gate is searched for. */
const ALIVE_MS = 500
const SEARCHED_MS = 5_000

interface JobPlace {
  container: Docker.Container
  paths: RunPaths
  owner: Owner
  line: FirstLine | undefined
}

/**
 * Starts a job, or finds it. Only one gate of a job runs its program (see
 * gate.ts), so a predecessor that died between asking and starting does no harm.
 */
export async function startJob(
  killer: Killer,
  { container, paths, owner, line }: JobPlace,
  spec: JobSpec,
): Promise<Journal> {
  const job = jobPaths(paths, spec.id)
  const isNew = startedUnder(job) === null
  if (isNew) {
    createJobDirectory(job, spec.stdin ?? '', owner)
    if (line === undefined || !(await startedBy(line, spec))) {
      if (await orKill(killer, container.id, execute(container, job, spec), START_MS))
        throw sandboxLost('What is left running in it keeps anything else from being started there: it was ended.')
    }
  }
  return fileJournal({
    name: spec.id,
    output: job.output,
    errors: job.output,
    own: job.own,
    limit: JOB_OUTPUT_BYTES,
    exit: exitOf(killer.docker, container, job, spec.id, isNew),
  })
}

export const hasJob = async (paths: RunPaths, id: string): Promise<boolean> =>
  startedUnder(jobPaths(paths, id)) !== null

const startedUnder = (job: JobPaths) => readMark(job.own, 'started')

/** A job's directory as the container sees it. */
const directoryInside = (id: string) => `${inside.jobs}/${id}`

/** By the token of its gate, so that the one that won is found again after a restart. */
const execFile = (token: string) => `exec-${token}`

async function noteExec(job: JobPaths, token: string, id: string): Promise<void> {
  await using directory = await openDirectory(job.root)
  await writeFile(within(directory, execFile(token)), id, { flag: 'wx' })
}

async function notedExec(job: JobPaths, token: string): Promise<string | null> {
  const id = await readBounded(join(job.root, execFile(token)), 200).catch(() => null)
  return id === null || id === 'too large' ? null : id.toString('utf8')
}

/** False: it is to be executed by the daemon. Should the gate do it nevertheless, only one of them runs the program. */
async function startedBy(line: FirstLine, spec: JobSpec): Promise<boolean> {
  const token = randomUUID()
  const [, said] =
    (await line.ask(helloLine(token) + jobLine(token, directoryInside(spec.id), spec), jobAnswer(token), LINE_MS)) ?? []
  return said === 'started' || said === 'taken'
}

async function execute(container: Docker.Container, job: JobPaths, spec: JobSpec): Promise<void> {
  const token = randomUUID()
  const exec = await ask('setup', () =>
    container.exec({
      Cmd: ['/bin/sh', '-c', JOB_GATE, 'ambient', directoryInside(spec.id)],
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
      Tty: false,
    }),
  ).catch((error: unknown) => {
    throw statusOf(error) === 404 || statusOf(error) === 409 ? sandboxLost(messageOf(error)) : error
  })
  await noteExec(job, token, exec.id)
  const socket = await ask('setup', () => exec.start({ hijack: true, stdin: true })).catch((error: unknown) => {
    throw statusOf(error) === null ? error : sandboxLost(messageOf(error))
  })
  const said: Buffer[] = []
  try {
    socket.write(helloLine(token) + startLine(token, spec))
    const deadline = AbortSignal.timeout(ANSWER_MS)
    deadline.addEventListener('abort', () => socket.destroy())
    // The gate's word, or the end of its output.
    for await (const chunk of socket) {
      said.push(chunk as Buffer)
      // What stands for /bin/sh in an image need not be a shell.
      if (said.length > ANSWER_CHUNKS) break
      const text = Buffer.concat(said).toString('latin1')
      if (jobAnswer(token).test(text)) break
    }
  } finally {
    socket.destroy()
  }
  if (startedUnder(job) === null) throw gateFailed(spec.id, Buffer.concat(said))
}

/** The gate's answer is in a file of a container that lives; that it has none is found by its exec. `isNew`: it was there just now. */
function exitOf(
  docker: Docker,
  container: Docker.Container,
  job: JobPaths,
  id: string,
  isNew: boolean,
): () => Promise<ProcessExit | null> {
  let aliveAt = Number.NEGATIVE_INFINITY
  let searchedAt = isNew ? performance.now() : Number.NEGATIVE_INFINITY

  async function isWaitedFor(): Promise<boolean> {
    const token = startedUnder(job)
    // What stands in `started` comes from inside: only a name that the host itself gave is looked up.
    if (token === null || !/^[0-9a-f-]{36}$/.test(token)) return false
    const execId = await notedExec(job, token)
    const exec = execId === null ? null : await askFor('setup', () => docker.getExec(execId).inspect())
    if (exec !== null) return exec.Running
    if (performance.now() - searchedAt < SEARCHED_MS) return true
    searchedAt = performance.now()
    return await hasGate(container, id)
  }

  return async () => {
    const early = readExit(job.own)
    // A reader asks after every piece of output; the daemon need not be asked that often.
    if (early !== null || performance.now() - aliveAt < ALIVE_MS) return early
    const info = await askFor('setup', () => container.inspect())
    if (info?.State.Running === true && (await isWaitedFor())) {
      aliveAt = performance.now()
      return null
    }
    // Read again: it may have been written between the two looks.
    const late = readExit(job.own)
    return late ?? { code: 137, outOfMemory: info?.State.OOMKilled === true }
  }
}

/**
 * A job that the container's first process has started has no exec. Nor have
 * others after their daemon: containers outlive it where it is set to
 * (live-restore), but the next one has forgotten every exec. The gate that waits
 * for a job's program names the job.
 */
async function hasGate(container: Docker.Container, id: string): Promise<boolean> {
  const processes = await askFor('setup', () => container.top({ ps_args: '-eo pid,args' }))
  return processes?.Processes.some((row: string[]) => row.at(-1)?.endsWith(` ${directoryInside(id)}`)) === true
}

function sandboxLost(log: string): RunFailureError {
  return new RunFailureError({
    code: 'sandbox_lost',
    phase: 'setup',
    message: 'The sandbox is not running any more.',
    logTail: logTail(log),
    nextStep: 'Start the run again, or send a follow-up.',
  })
}

function gateFailed(id: string, said: Buffer): Error {
  return new Error(`the job ${id} did not start: ${logTail(said.toString('utf8'))}`)
}
