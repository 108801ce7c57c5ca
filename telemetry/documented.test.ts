import { readFileSync } from 'node:fs'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createGatewayMetrics } from './gateway-metrics.ts'
import { createHostMetrics } from './host-metrics.ts'
import { createRegistry } from './registry.ts'
import { createServerMetrics } from './server-metrics.ts'
import { createSupervisorMetrics } from './supervisor-metrics.ts'
import { createBuildMetrics, createWorkerMetrics } from './worker-metrics.ts'

const makers: Record<string, (registry: Registry) => unknown> = {
  server: (registry) => createServerMetrics(registry, async () => Promise.reject(new Error('there is no database'))),
  gateway: createGatewayMetrics,
  host: (registry) => createHostMetrics(registry, async () => ({ capacity: 1, held: 0, draining: false })),
  supervisor: createSupervisorMetrics,
  worker: (registry) => [createWorkerMetrics(registry), createBuildMetrics(registry)],
}

test('docs/operations.md lists all metrics, each with its labels and the process that tells it', async () => {
  const page = readFileSync(new URL('../docs/operations.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| (`ambient_.*`) +\| (\w+) +\|/gm)]
  const listed = rows.flatMap(([, names = '', part]) =>
    [...names.matchAll(/`(\w+)(?:\{([\w,]+)\})?`/g)].map(([, name, labels = '']) => `${part} ${name} ${labels}`),
  )
  const made = await Promise.all(
    Object.entries(makers).map(async ([part, make]) => {
      const registry = new Registry()
      make(registry)
      return registry.getMetricsAsArray().map((metric) => {
        const { name, labelNames } = metric as unknown as { name: string; labelNames: string[] }
        return `${part} ${name} ${labelNames.join(',')}`
      })
    }),
  )
  expect(listed.sort()).toEqual(made.flat().sort())
  for (const { name } of createRegistry('server', '1').getMetricsAsArray() as unknown as { name: string }[])
    expect(page).toContain(name.startsWith('ambient_') ? name : `\`${name.split('_')[0]}_…\``)
})
