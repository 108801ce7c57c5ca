// Follows a run's transcript through restarts of the server.
import { setTimeout as delay } from 'node:timers/promises'
import { createParser } from 'eventsource-parser'
import { typed } from '../config.ts'
import type { RunEvent } from '../domain/event.ts'
import type { Api } from './api/client.ts'
import { CliError, exitCodes } from './exit.ts'

/** The server sends a comment every 15 s; after three missed ones the connection is dead, whatever TCP thinks. */
const SILENCE_MS = 50_000
/** A restart takes seconds; an outage longer than this is for a person to look at. */
const GIVE_UP_MS = 5 * 60_000
const FIRST_PAUSE_MS = 200
const LONGEST_PAUSE_MS = 5_000

export interface FollowOptions {
  /** Sequence of the last event that is known already. */
  after: number
  signal: AbortSignal
  onConnection(change: 'lost' | 'back'): void
  giveUpMs?: number
}

/**
 * Yields every event after `after` once and in order, in the batches they
 * arrived in. Returns when the server says that the run has ended, or when the
 * signal aborts.
 * @throws {CliError} when the server refuses, or stays away for five minutes.
 */
export async function* followEvents(api: Api, runId: string, options: FollowOptions): AsyncGenerator<RunEvent[]> {
  let last = options.after
  let lostAt: number | null = null
  let pause = FIRST_PAUSE_MS

  while (!options.signal.aborted) {
    let failure: unknown
    try {
      for await (const part of readStream(api, runId, { ...options, after: last })) {
        if (part === 'open') {
          if (lostAt !== null) options.onConnection('back')
          lostAt = null
          pause = FIRST_PAUSE_MS
          continue
        }
        if (part === 'end') return
        const fresh = part.filter((event) => event.sequence > last)
        last = fresh.at(-1)?.sequence ?? last
        if (fresh.length > 0) yield fresh
      }
    } catch (error) {
      if (options.signal.aborted) return
      if (error instanceof CliError && !mayPass(error)) throw error
      failure = error
    }
    if (options.signal.aborted) return

    // A stream that closes without its `end` is a server going down.
    if (lostAt === null) {
      lostAt = Date.now()
      options.onConnection('lost')
    } else if (Date.now() - lostAt > (options.giveUpMs ?? GIVE_UP_MS)) {
      throw new CliError(exitCodes.unreachable, `The server at ${api.url} stays unreachable.`, {
        hint: `The run goes on without you. Follow it again: ${typed} logs ${runId.slice(0, 8)} --follow --after ${last}`,
        cause: failure,
      })
    }
    await delay(pause, undefined, { signal: options.signal }).catch(() => undefined) // Aborted: the loop's condition ends it.
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS)
  }
}

const mayPass = (error: CliError) => error.exitCode === exitCodes.unreachable || error.exitCode === exitCodes.error

async function* readStream(
  api: Api,
  runId: string,
  options: FollowOptions,
): AsyncGenerator<RunEvent[] | 'open' | 'end'> {
  const silence = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const heard = () => {
    clearTimeout(timer)
    timer = setTimeout(() => silence.abort(new Error('the connection went silent')), SILENCE_MS)
  }
  try {
    heard()
    const signal = AbortSignal.any([options.signal, silence.signal])
    const response = await api.stream(runId, { after: options.after, signal })
    if (!response.body || !response.headers.get('content-type')?.startsWith('text/event-stream')) {
      throw new CliError(
        exitCodes.usage,
        `What answers at ${api.url} is not an Ambient server: it sent no event stream.`,
      )
    }
    yield 'open'

    let batch: RunEvent[] = []
    let ended = false
    const parser = createParser({
      onEvent: (message) => {
        if (message.event === 'end') ended = true
        else batch.push(JSON.parse(message.data) as RunEvent)
      },
    })
    const decoder = new TextDecoder()
    for await (const chunk of response.body) {
      heard()
      parser.feed(decoder.decode(chunk, { stream: true }))
      if (batch.length > 0) yield batch
      batch = []
      if (ended) {
        yield 'end'
        return
      }
    }
  } finally {
    clearTimeout(timer)
    silence.abort()
  }
}
