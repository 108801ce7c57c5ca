import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import type { Figures } from '../domain/figures.ts'
import { createServerMetrics } from './server-metrics.ts'

const figures: Figures = {
  runs: [{ state: 'INPROGRESS', source: 'API', count: 4 }],
  events: 120,
  queue: [{ pool: 'gpu', waiting: 2, oldestSeconds: 30 }],
  mail: { undelivered: 1, oldestSeconds: 0.5 },
  builds: [{ state: 'READY', count: 3 }],
  hosts: [
    { pool: 'gpu', state: 'live', count: 2, capacity: 8, inUse: 3 },
    { pool: 'gpu', state: 'draining', count: 1, capacity: 4, inUse: 1 },
    { pool: 'gpu', state: 'gone', count: 1, capacity: 4, inUse: 4 },
  ],
  stopped: [{ reason: 'budget', count: 2 }],
  charged: [
    { kind: 'inference', usd: 12.5, credits: 1250 },
    { kind: 'compute', usd: 0.25, credits: 25 },
  ],
  unpricedCalls: 3,
}

test('however many scrape, the database is asked once', async () => {
  let asked = 0
  const metrics = createServerMetrics(new Registry(), async () => {
    asked++
    return figures
  })
  await Promise.all(Array.from({ length: 20 }, () => metrics.refresh()))
  await metrics.refresh()
  expect(asked).toBe(1)
  const lines = (await metrics.registry.metrics()).split('\n').filter((line) => /^ambient_[a-z]/.test(line))
  expect(lines).toEqual([
    'ambient_runs{state="INPROGRESS",source="API"} 4',
    'ambient_queue_runs{pool="gpu"} 2',
    'ambient_queue_oldest_seconds{pool="gpu"} 30',
    'ambient_mail_undelivered 1',
    'ambient_mail_oldest_undelivered_seconds 0.5',
    'ambient_hosts{pool="gpu",state="live"} 2',
    'ambient_hosts{pool="gpu",state="draining"} 1',
    'ambient_hosts{pool="gpu",state="gone"} 1',
    'ambient_pool_capacity_runs{pool="gpu"} 8',
    'ambient_pool_held_runs{pool="gpu"} 4',
    'ambient_builds{state="READY"} 3',
    'ambient_events_stored_total 120',
    'ambient_database_up 1',
    'ambient_runs_stopped{reason="budget"} 2',
    'ambient_runs_stopped{reason="credits"} 0',
    'ambient_charged_usd_total{kind="inference"} 12.5',
    'ambient_charged_usd_total{kind="compute"} 0.25',
    'ambient_charged_credits_total{kind="inference"} 1250',
    'ambient_charged_credits_total{kind="compute"} 25',
    'ambient_unpriced_model_calls_total 3',
  ])
})

test('while the database is away, a scrape says so and tells nothing that may be out of date', async () => {
  let isAway = false
  const metrics = createServerMetrics(new Registry(), async () => {
    if (isAway) throw new Error('connection refused')
    return figures
  })
  isAway = true
  await metrics.refresh()
  const text = await metrics.registry.metrics()
  expect(text).toContain('\nambient_database_up 0\n')
  expect(text).not.toContain('ambient_runs{')
  isAway = false
  await metrics.refresh()
  expect(await metrics.registry.metrics()).toContain('ambient_runs{state="INPROGRESS",source="API"} 4')
})
