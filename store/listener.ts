// Hears of new events, of mail to hand over, and of workers that live: one connection for a process.
import { Client } from 'pg'
import { PRESENCE_CHANNEL } from './hosts/presence.ts'
import { MAIL_CHANNEL } from './runs/mail.ts'
import { SLOTS_CHANNEL } from './schedules/scheduler-channel.ts'
import { WEBHOOK_CHANNEL } from './webhook-deliveries.ts'

/** `pg_notify` channel; the payload is the run's id. */
export const EVENTS_CHANNEL = 'ambient_events'

export interface EventListener {
  /** Calls back when the run may have new events. Returns what ends it. */
  subscribe(runId: string, onEvents: () => void): () => void
  /** Milliseconds since a worker last said that it lives, or may have said so unheard; null before this listens. */
  workerHeardAgo(): number | null
  close(): Promise<void>
}

export interface ListenerOptions {
  url: string
  /** A run has mail that nobody here has written. What is missed while the connection is broken, a sweep finds. */
  onMail?: (runId: string) => void
  /** There is something to tell webhooks; the same holds. */
  onWebhook?: () => void
  /** A slot of a schedule is due, or its run is over. */
  onSlot?: () => void
  onError?: (error: Error) => void
}

const RECONNECT_MS = [100, 500, 1_000, 2_000, 5_000]

/**
 * Listens until it is closed, and connects again when the connection breaks.
 * What was said meanwhile is lost, so everyone is called after each connect;
 * callers look into the table in any case.
 */
export function createEventListener({ url, onMail, onWebhook, onSlot, onError }: ListenerOptions): EventListener {
  const subscribers = new Map<string, Set<() => void>>()
  let client: Client | null = null
  let retry: NodeJS.Timeout | null = null
  let attempts = 0
  let isClosed = false
  let heardAt: number | null = null

  const callAll = () => {
    for (const callbacks of subscribers.values()) for (const callback of callbacks) callback()
  }

  async function connect(): Promise<void> {
    const next = new Client({ connectionString: url, application_name: 'ambient events', keepAlive: true })
    client = next
    next.on('notification', ({ channel, payload = '' }) => {
      if (channel === PRESENCE_CHANNEL) heardAt = performance.now()
      else if (channel === MAIL_CHANNEL) onMail?.(payload)
      else if (channel === WEBHOOK_CHANNEL) onWebhook?.()
      else if (channel === SLOTS_CHANNEL) onSlot?.()
      else for (const callback of subscribers.get(payload) ?? []) callback()
    })
    next.on('error', (error) => onError?.(error))
    next.on('end', () => {
      if (client === next) reconnectLater()
    })
    try {
      await next.connect()
      await next.query(`listen ${EVENTS_CHANNEL}`)
      await next.query(`listen ${PRESENCE_CHANNEL}`)
      if (onMail) await next.query(`listen ${MAIL_CHANNEL}`)
      if (onWebhook) await next.query(`listen ${WEBHOOK_CHANNEL}`)
      if (onSlot) await next.query(`listen ${SLOTS_CHANNEL}`)
      attempts = 0
      // What was said while nobody listened counts as heard.
      heardAt = performance.now()
      callAll()
    } catch (error) {
      onError?.(error instanceof Error ? error : new Error(String(error)))
      if (client === next) reconnectLater()
      // Half-open or refused: either way this connection is of no more use.
      next.end().catch(() => {})
    }
  }

  function reconnectLater(): void {
    client = null
    if (isClosed || retry !== null) return
    const pause = RECONNECT_MS[Math.min(attempts++, RECONNECT_MS.length - 1)]
    retry = setTimeout(() => {
      retry = null
      connected = connect()
    }, pause)
    retry.unref()
  }

  let connected = connect()

  return {
    workerHeardAgo: () => (heardAt === null ? null : performance.now() - heardAt),
    subscribe(runId, onEvents) {
      const callbacks = subscribers.get(runId) ?? new Set()
      subscribers.set(runId, callbacks.add(onEvents))
      return () => {
        callbacks.delete(onEvents)
        if (callbacks.size === 0 && subscribers.get(runId) === callbacks) subscribers.delete(runId)
      }
    },
    async close() {
      isClosed = true
      if (retry !== null) clearTimeout(retry)
      await connected
      const last = client
      client = null
      await last?.end()
    },
  }
}
