// Rows as server-sent events, such as a run's transcript: each one once, in order, from where the reader asks.
import { once } from 'node:events'
import type { Request, Response } from 'express'
import type { RunEvent } from '../../domain/event.ts'
import { ACCESS_TOPIC } from '../../store/accounts/access-channel.ts'
import { readEvents, transcriptEnd } from '../../store/runs/events.ts'
import type { ApiDeps } from '../deps.ts'

/** Proxies drop a silent connection after 30 to 60 s. */
const KEEP_ALIVE_MS = 15_000
/** Should a notification be lost, the table is looked into this often. */
const SAFETY_POLL_MS = 5_000
/** Rows of one read. */
const PAGE = 200

export interface RowStream<T> {
  /** What the listener is told when there is more. */
  topic: string
  after: number
  /** Go on when all is over: more may come. */
  endless: boolean
  read(after: number, limit: number): Promise<T[]>
  positionOf(row: T): number
  /** Whether all may be over with this row, so that it is worth a look. Null: no row tells, and each word of the listener is. */
  endsWith: ((row: T) => boolean) | null
  /** Whether its reader may not go on with it any more. Asked when somebody may see less than before, and now and then. */
  isRefused(): Promise<boolean>
  /** How it stands; null when it is not there any more. `tell`: what the reader is told after the last row. */
  end(): Promise<{ isOver: boolean; last: number; tell(sent: number): unknown } | null>
}

export interface EventStream extends Pick<RowStream<RunEvent>, 'isRefused'> {
  runId: string
  after: number
  endless: boolean
}

/** A run's transcript. With `endless` it goes on when the run is over: a follow-up may come. */
export function streamEvents(
  deps: ApiDeps,
  request: Request,
  response: Response,
  { runId, after, endless, isRefused }: EventStream,
): Promise<void> {
  return streamRows<RunEvent>(deps, request, response, {
    topic: runId,
    after,
    endless,
    isRefused,
    read: (from, limit) => readEvents(deps.db, runId, from, limit),
    positionOf: ({ sequence }) => sequence,
    // While an agent talks it is not over: only a change of state, or silence, is worth a look.
    endsWith: ({ kind }) => kind === 'state',
    async end() {
      const end = await transcriptEnd(deps.db, runId)
      if (end === null) return null
      const { state, isOver, lastSequence: last } = end
      return { isOver, last, tell: (sent) => ({ state, last_sequence: sent }) }
    },
  })
}

/**
 * Sends what there is, then what comes, until all is over and sent, the reader
 * goes, or the server stops. Of two readers that come back at any point, both
 * get the same.
 */
export async function streamRows<T>(
  deps: ApiDeps,
  request: Request,
  response: Response,
  rows: RowStream<T>,
): Promise<void> {
  const { endless } = rows
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  // It may have gone while the rows were looked up; a close that is over is not told again.
  if (response.destroyed) gone.abort()
  const refused = new AbortController()
  const stop = AbortSignal.any([gone.signal, refused.signal, deps.closing])
  const look = () => {
    rows.isRefused().then(
      (isRefused) => {
        if (isRefused) refused.abort()
      },
      // The database's trouble: it is asked again.
      (error: unknown) => deps.log.debug({ err: error }, 'could not ask whether a reader may go on'),
    )
  }
  const forget = deps.listener.subscribe(ACCESS_TOPIC, look)
  const bell = createBell()
  const unsubscribe = deps.listener.subscribe(rows.topic, bell.ring)
  request.socket.setNoDelay(true)
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
  })
  response.write('retry: 500\n\n')
  const keepAlive = setInterval(() => {
    response.write(': keep-alive\n\n')
    look()
  }, KEEP_ALIVE_MS)
  try {
    let sent = rows.after
    let lookForEnd = !endless
    while (!stop.aborted) {
      // Asked before reading, so that nothing stored up to this answer is missed by the read that follows.
      const end = lookForEnd ? await rows.end() : null
      const read = await sendFrom(response, stop, rows, sent)
      sent = read.sent
      if (end?.isOver && sent >= end.last) {
        response.write(`event: end\ndata: ${JSON.stringify(end.tell(sent))}\n\n`)
        break
      }
      if (read.mayEnd && !endless) lookForEnd = true
      else lookForEnd = (!(await bell.heard(stop, SAFETY_POLL_MS)) || rows.endsWith === null) && !endless
    }
    response.end()
  } finally {
    clearInterval(keepAlive)
    unsubscribe()
    forget()
  }
}

/** Sends everything after a position. Tells the last one sent, and whether all may be over with one of them. */
async function sendFrom<T>(
  response: Response,
  stop: AbortSignal,
  { read, positionOf, endsWith }: RowStream<T>,
  after: number,
): Promise<{ sent: number; mayEnd: boolean }> {
  let sent = after
  let mayEnd = false
  const frame = (row: T) => `id: ${positionOf(row)}\ndata: ${JSON.stringify(row)}\n\n`
  while (!stop.aborted) {
    const page = await read(sent, PAGE)
    const last = page.at(-1)
    if (!last) break
    // A slow reader holds this loop up, not the memory of the process.
    if (!response.write(page.map(frame).join(''))) await drained(response, stop)
    sent = positionOf(last)
    mayEnd ||= endsWith !== null && page.some(endsWith)
    if (page.length < PAGE) break
  }
  return { sent, mayEnd }
}

async function drained(response: Response, stop: AbortSignal): Promise<void> {
  await once(response, 'drain', { signal: stop }).catch(() => {
    // Stopped: the loops above end by themselves.
  })
}

/** Remembers that it was rung while nobody listened. */
function createBell() {
  let hasRung = false
  let wake = () => {}
  return {
    ring() {
      hasRung = true
      wake()
    },
    /** False when the time passed, or a stop came, without it. */
    async heard(stop: AbortSignal, longest: number): Promise<boolean> {
      if (!hasRung && !stop.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(finish, longest)
          function finish() {
            clearTimeout(timer)
            stop.removeEventListener('abort', finish)
            wake = () => {}
            resolve()
          }
          wake = finish
          stop.addEventListener('abort', finish, { once: true })
        })
      }
      const rang = hasRung
      hasRung = false
      return rang
    },
  }
}
