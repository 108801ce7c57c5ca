// A run's transcript as server-sent events: each one once, in order, from where the reader asks.
import { once } from 'node:events'
import type { Request, Response } from 'express'
import type { RunEvent } from '../domain/event.ts'
import { readEvents, transcriptEnd } from '../store/events.ts'
import type { ApiDeps } from './deps.ts'

/** Proxies drop a silent connection after 30 to 60 s. */
const KEEP_ALIVE_MS = 15_000
/** Should a notification be lost, the table is looked into this often. */
const SAFETY_POLL_MS = 5_000
/** Events of one read. */
const PAGE = 200

export interface StreamRequest {
  runId: string
  after: number
  /** Go on when the run is over: a follow-up may come. */
  endless: boolean
}

/**
 * Sends what there is, then what comes, until the run is over and everything is
 * sent, the reader goes, or the server stops. Of two readers that come back at
 * any point, both get the same.
 */
export async function streamEvents(
  deps: ApiDeps,
  request: Request,
  response: Response,
  { runId, after, endless }: StreamRequest,
): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  // It may have gone while the run was looked up; a close that is over is not told again.
  if (response.destroyed) gone.abort()
  const stop = AbortSignal.any([gone.signal, deps.closing])
  const bell = createBell()
  const unsubscribe = deps.listener.subscribe(runId, bell.ring)
  request.socket.setNoDelay(true)
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
  })
  response.write('retry: 500\n\n')
  const keepAlive = setInterval(() => response.write(': keep-alive\n\n'), KEEP_ALIVE_MS)
  try {
    let sent = after
    let lookForEnd = !endless
    while (!stop.aborted) {
      // Asked before reading, so that nothing stored up to this answer is missed by the read that follows.
      const end = lookForEnd ? await transcriptEnd(deps.db, runId) : null
      const read = await sendFrom(deps, response, stop, runId, sent)
      sent = read.sent
      if (end?.isOver && sent >= end.lastSequence) {
        response.write(`event: end\ndata: ${JSON.stringify({ state: end.state, last_sequence: sent })}\n\n`)
        break
      }
      // While an agent talks it is not over: only a change of state, or silence, is worth a look.
      if (read.hasState && !endless) lookForEnd = true
      else lookForEnd = !(await bell.heard(stop, SAFETY_POLL_MS)) && !endless
    }
    response.end()
  } finally {
    clearInterval(keepAlive)
    unsubscribe()
  }
}

/** Sends everything after a sequence. Tells the last one sent, and whether a change of state was among them. */
async function sendFrom(
  deps: ApiDeps,
  response: Response,
  stop: AbortSignal,
  runId: string,
  after: number,
): Promise<{ sent: number; hasState: boolean }> {
  let sent = after
  let hasState = false
  while (!stop.aborted) {
    const events = await readEvents(deps.db, runId, sent, PAGE)
    const last = events.at(-1)
    if (!last) break
    // A slow reader holds this loop up, not the memory of the process.
    if (!response.write(events.map(frame).join(''))) await drained(response, stop)
    sent = last.sequence
    hasState ||= events.some(({ kind }) => kind === 'state')
    if (events.length < PAGE) break
  }
  return { sent, hasState }
}

const frame = (event: RunEvent) => `id: ${event.sequence}\ndata: ${JSON.stringify(event)}\n\n`

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
