// What the server tells: its requests, the delivery of mail, and the figures that the database holds for all.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Figures } from '../domain/figures.ts'
import { SHORT_BUCKETS } from './registry.ts'

export interface ServerMetrics {
  readonly registry: Registry
  readonly requests: Counter<'method' | 'route' | 'status'>
  readonly requestSeconds: Histogram<'method' | 'route'>
  readonly mailSeconds: Histogram<'kind'>
  /** Brings the database's figures up to date where they are old. To be awaited before a scrape; never rejects. */
  refresh(): Promise<void>
}

/** How old the database's figures may be: however many scrape, they are counted four times a minute at most. */
const FIGURES_MS = 15_000

export function createServerMetrics(registry: Registry, readFigures: () => Promise<Figures>): ServerMetrics {
  const registers = [registry]
  return {
    registry,
    refresh: figureGauges(registry, readFigures),
    requests: new Counter({
      name: 'ambient_http_requests_total',
      help: 'Requests answered by the API.',
      labelNames: ['method', 'route', 'status'],
      registers,
    }),
    requestSeconds: new Histogram({
      name: 'ambient_http_request_seconds',
      help: 'Time from a request to the end of its answer; event streams are left out.',
      labelNames: ['method', 'route'],
      buckets: SHORT_BUCKETS,
      registers,
    }),
    mailSeconds: new Histogram({
      name: 'ambient_mail_delivery_seconds',
      help: 'Time from when a message, answer or cancel was accepted until its workflow had it.',
      labelNames: ['kind'],
      buckets: SHORT_BUCKETS,
      registers,
    }),
  }
}

/** Returns how they are brought up to date. */
function figureGauges(registry: Registry, readFigures: () => Promise<Figures>): () => Promise<void> {
  const registers = [registry]
  const runs = new Gauge({
    name: 'ambient_runs',
    help: 'Runs by state and source, of all that are kept.',
    labelNames: ['state', 'source'],
    registers,
  })
  const waiting = new Gauge({
    name: 'ambient_queue_runs',
    help: 'Runs that wait in the queue of a pool.',
    labelNames: ['pool'],
    registers,
  })
  const oldest = new Gauge({
    name: 'ambient_queue_oldest_seconds',
    help: 'How long the run that has waited longest in the queue of a pool has been there.',
    labelNames: ['pool'],
    registers,
  })
  const undelivered = new Gauge({
    name: 'ambient_mail_undelivered',
    help: 'Messages, answers and cancels that are accepted and not yet with their workflow.',
    registers,
  })
  const lag = new Gauge({
    name: 'ambient_mail_oldest_undelivered_seconds',
    help: 'Age of the oldest of them; 0 when there is none.',
    registers,
  })
  const hosts = new Gauge({
    name: 'ambient_hosts',
    help: 'Hosts of a pool by state: live, draining, drained, gone.',
    labelNames: ['pool', 'state'],
    registers,
  })
  const capacity = new Gauge({
    name: 'ambient_pool_capacity_runs',
    help: 'Runs that the live hosts of a pool hold at once, those that drain left out.',
    labelNames: ['pool'],
    registers,
  })
  const inUse = new Gauge({
    name: 'ambient_pool_held_runs',
    help: 'Runs that the hosts of a pool hold, by their own last word; those that are gone left out.',
    labelNames: ['pool'],
    registers,
  })
  const builds = new Gauge({
    name: 'ambient_builds',
    help: 'Builds of environments by state, of all that are on record.',
    labelNames: ['state'],
    registers,
  })
  const events = new Counter({
    name: 'ambient_events_stored_total',
    help: 'Transcript events stored, over all runs that are kept.',
    registers,
  })
  const up = new Gauge({
    name: 'ambient_database_up',
    help: '1 when the figures of the database could be read; else what depends on them is left out.',
    registers,
  })
  const stopped = new Gauge({
    name: 'ambient_runs_stopped',
    help: 'Runs that are BLOCKED until there is more to spend, by what is used up: budget, credits.',
    labelNames: ['reason'],
    registers,
  })
  const usd = new Counter({
    name: 'ambient_charged_usd_total',
    help: 'US dollars charged to runs of all teams, by kind: inference, compute.',
    labelNames: ['kind'],
    registers,
  })
  const credits = new Counter({
    name: 'ambient_charged_credits_total',
    help: 'Credits charged to runs of all teams, by kind: inference, compute.',
    labelNames: ['kind'],
    registers,
  })
  const unpriced = new Counter({
    name: 'ambient_unpriced_model_calls_total',
    help: 'Calls of models that were charged with nothing, for their model has no price.',
    registers,
  })
  const money = [stopped, usd, credits, unpriced]
  const metrics = [runs, waiting, oldest, undelivered, lag, hosts, capacity, inUse, builds, events, ...money]
  const figuresOfLate = cache(readFigures)

  return async () => {
    const figures = await figuresOfLate().catch(() => null)
    up.set(figures === null ? 0 : 1)
    for (const metric of metrics) metric.reset()
    if (figures === null) return
    for (const { state, source, count } of figures.runs) runs.set({ state, source }, count)
    for (const { pool, waiting: count, oldestSeconds } of figures.queue) {
      waiting.set({ pool }, count)
      oldest.set({ pool }, oldestSeconds)
    }
    undelivered.set(figures.mail.undelivered)
    lag.set(figures.mail.oldestSeconds)
    for (const row of figures.hosts) {
      hosts.set({ pool: row.pool, state: row.state }, row.count)
      if (row.state === 'live') capacity.inc({ pool: row.pool }, row.capacity)
      if (row.state !== 'gone') inUse.inc({ pool: row.pool }, row.inUse)
    }
    for (const { state, count } of figures.builds) builds.set({ state }, count)
    events.inc(figures.events)
    for (const reason of ['budget', 'credits'] as const)
      stopped.set({ reason }, figures.stopped.find((each) => each.reason === reason)?.count ?? 0)
    for (const { kind, usd: dollars, credits: count } of figures.charged) {
      usd.inc({ kind }, dollars)
      credits.inc({ kind }, count)
    }
    unpriced.inc(figures.unpricedCalls)
  }
}

/** The same answer for everybody who asks within {@link FIGURES_MS}. A failure is not kept. */
function cache(read: () => Promise<Figures>): () => Promise<Figures> {
  let last: { at: number; figures: Promise<Figures> } | null = null
  return () => {
    if (last !== null && Date.now() - last.at < FIGURES_MS) return last.figures
    const asked = { at: Date.now(), figures: read() }
    asked.figures.catch(() => {
      if (last === asked) last = null
    })
    last = asked
    return asked.figures
  }
}
