// A process's Prometheus metrics: the registry, with what every process tells about itself.
import { performance } from 'node:perf_hooks'
import { Counter, Gauge, Registry } from 'prom-client'

/** From a database call to a slow request. In seconds. */
export const SHORT_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** From a start in a warm sandbox to a day's work. In seconds. */
export const LONG_BUCKETS = [0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400]

/**
 * Read at each scrape. Prom-client's own set is left out: its watch on the event
 * loop wakes an idle process a hundred times a second.
 */
export function createRegistry(part: string, version: string): Registry {
  const registry = new Registry()
  const registers = [registry]
  new Gauge({
    name: 'ambient_build_info',
    help: 'Which part this is, and of which version; always 1.',
    labelNames: ['part', 'version'],
    registers,
  }).set({ part, version }, 1)
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'When the process was started, in Unix seconds.',
    registers,
  }).set(performance.timeOrigin / 1000)
  let counted = 0
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Processor time used, user and system.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage()
      const now = (user + system) / 1e6
      this.inc(now - counted)
      counted = now
    },
  })
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })
  new Gauge({
    name: 'nodejs_heap_size_used_bytes',
    help: 'JavaScript heap in use.',
    registers,
    collect() {
      this.set(process.memoryUsage().heapUsed)
    },
  })
  let since = performance.eventLoopUtilization()
  new Gauge({
    name: 'nodejs_eventloop_utilization',
    help: 'Share of the time since the last scrape in which the event loop was busy, from 0 to 1.',
    registers,
    collect() {
      const now = performance.eventLoopUtilization()
      this.set(performance.eventLoopUtilization(now, since).utilization)
      since = now
    },
  })
  return registry
}
