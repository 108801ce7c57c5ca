// The agent's journal in a container: the daemon's log of it, and its attached stdin.
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type Docker from 'dockerode'
import { RunFailureError } from '../../domain/failure.ts'
import { type Journal, type JournalLine, ProcessEndedError, type ProcessExit } from '../../domain/journal.ts'
import { STARTED } from '../gate.ts'
import { type Line, LineSplitter } from '../lines.ts'
import { ask, askFor, explained, statusOf } from './daemon.ts'
import { FrameReader, STDERR, STDOUT } from './frames.ts'

/** How much of the log is searched for stderr (the daemon counts both streams), and how much of it is told. */
const TAIL_ENTRIES = 2_000
const TAIL_MS = 10_000
const TAIL_BYTES = 4 * 1024
const REOPEN_MS = 50

export function containerJournal(
  container: Docker.Container,
  generation: number,
  write: (text: string) => Promise<void>,
): Journal {
  return {
    name: `agent-${generation}`,
    read: (after, signal) => readAgent(container, after, signal),
    write,
    stderrTail: () => stderrTail(container),
    exit: () => exitOf(container),
  }
}

/**
 * The agent's lines: those after the gate's last word. The gate's own lines come
 * before it and are not counted, however many a restarted host caused.
 */
async function* readAgent(
  container: Docker.Container,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<JournalLine[]> {
  let read = after
  while (!signal.aborted) {
    // Asked before reading: the log of a container that had ended is then whole.
    const ended = (await exitOf(container)) !== null
    let line = 0
    let started = false
    for await (const found of readLog(container, ended, signal)) {
      const lines: JournalLine[] = []
      for (const { text, truncatedBytes } of found) {
        if (!started) started = text === STARTED
        else if (++line > read) lines.push({ line, stream: 'stdout', text, truncatedBytes })
      }
      if (lines.length > 0) {
        read = line
        yield lines
      }
      if (signal.aborted) return
    }
    if (ended || signal.aborted) return
    // The log of a running container ends with it, or with the daemon: what it missed is read from the start again.
    await delay(REOPEN_MS)
  }
}

/**
 * What the container has said on stdout, from the start, in the batches it comes
 * in: so far and no further for a container that has ended, else for as long as
 * it runs. Ends without throwing on abort.
 */
async function* readLog(container: Docker.Container, ended: boolean, signal: AbortSignal): AsyncGenerator<Line[]> {
  const splitter = new LineSplitter()
  for await (const bodies of readFrames(container, { follow: !ended, stream: 'stdout' }, signal)) {
    const lines = bodies.flatMap((body) => splitter.push(body))
    if (lines.length > 0) yield lines
  }
  // Only a log that will not grow can end in a line without a newline.
  if (ended) yield splitter.end()
}

interface LogQuestion {
  follow: boolean
  stream: 'stdout' | 'stderr'
  tail?: number
}

async function* readFrames(
  container: Docker.Container,
  { follow, stream, tail }: LogQuestion,
  signal: AbortSignal,
): AsyncGenerator<Buffer[]> {
  const frames = new FrameReader(stream === 'stdout' ? STDOUT : STDERR)
  let log: Readable | undefined
  try {
    log = await openLog(container, { follow, [stream]: true, tail: tail ?? 'all' }, signal)
    for await (const chunk of log) {
      const bodies = frames.push(chunk as Buffer)
      if (bodies.length > 0) yield bodies
    }
  } catch (error) {
    if (signal.aborted) return
    throw statusOf(error) === 404 ? containerGone() : explained(error, 'turn')
  } finally {
    log?.destroy()
  }
}

/** Asked below the client's own method, which keeps a log that is not followed whole in memory. */
function openLog(container: Docker.Container, options: object, signal: AbortSignal): Promise<Readable> {
  return new Promise((resolve, reject) => {
    container.modem.dial(
      {
        path: `/containers/${container.id}/logs?`,
        method: 'GET',
        abortSignal: signal,
        isStream: true,
        statusCodes: { 200: true, 404: 'no such container', 500: 'server error' },
        options,
      },
      (error: unknown, log: Readable) => (error ? reject(error) : resolve(log)),
    )
  })
}

/** What the gate of a container has said so far, or goes on saying; ends with its word that the agent was started. */
export async function* readGate(
  container: Docker.Container,
  options: { follow: boolean; signal: AbortSignal },
): AsyncGenerator<string> {
  for await (const lines of readLog(container, !options.follow, options.signal)) {
    for (const { text } of lines) {
      yield text
      if (text === STARTED) return
    }
  }
}

export async function stderrTail(container: Docker.Container): Promise<string> {
  const question: LogQuestion = { follow: false, stream: 'stderr', tail: TAIL_ENTRIES }
  let tail = Buffer.alloc(0)
  for await (const bodies of readFrames(container, question, AbortSignal.timeout(TAIL_MS))) {
    tail = Buffer.from(Buffer.concat([tail, ...bodies]).subarray(-TAIL_BYTES))
  }
  return tail.toString('utf8')
}

/** How the container ended; null while it runs or before it was started. */
export async function exitOf(container: Docker.Container): Promise<ProcessExit | null> {
  const found = await askFor('turn', () => container.inspect())
  if (found === null) throw containerGone()
  const { Running, Status, ExitCode, OOMKilled } = found.State
  if (Running || Status === 'created') return null
  // The kernel takes the largest process, often a child whose parent then gives up with a code of its own.
  const outOfMemory = OOMKilled && ExitCode !== 0
  const wasStopped = !outOfMemory && STOPPED.includes(ExitCode)
  return { code: ExitCode, outOfMemory, ...(wasStopped && { lost: true }) }
}

/** SIGTERM and SIGKILL, which the container's init passes on: somebody stops the container, or the daemon goes and takes all of them along. */
const STOPPED = [143, 137]

function containerGone(): RunFailureError {
  return new RunFailureError({
    code: 'sandbox_lost',
    phase: 'turn',
    message: "The agent's container was removed from outside.",
    nextStep: 'Start the run again.',
  })
}

/**
 * Writes to the container's stdin through an attachment of its own. Returns when
 * the daemon has handed everything to the container: it closes its side then.
 */
export async function writeToContainer(container: Docker.Container, bytes: Buffer): Promise<void> {
  // An attachment to a container that has ended takes everything and says nothing.
  if ((await exitOf(container)) !== null) throw new ProcessEndedError('the agent has ended')
  const socket = await ask('turn', () => container.attach({ stream: true, stdin: true, hijack: true }))
  await new Promise<void>((resolve, reject) => {
    socket.once('close', resolve)
    socket.once('error', (error: Error) => reject(explained(error, 'turn')))
    socket.resume()
    socket.end(bytes)
  })
}
