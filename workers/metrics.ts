// The metrics of a process that has no API to serve them.
import type { Registry } from 'prom-client'
import { type Config, ConfigError, version } from '../config.ts'
import { createRegistry } from '../telemetry/registry.ts'
import { listenForScrapes, type MetricsLog } from '../telemetry/serve-metrics.ts'

type MetricsConfig = Pick<Config, 'AMBIENT_METRICS_PORT' | 'AMBIENT_METRICS_BIND' | 'AMBIENT_METRICS_KEY'>

/** Serves at once; what the part itself counts is added to the registry. `temporal` reads what the Temporal SDK counts. */
export function serveMetrics(
  part: string,
  config: MetricsConfig,
  log: MetricsLog,
  temporal?: (() => Promise<string>) | undefined,
): { registry: Registry; close: () => void } {
  const { AMBIENT_METRICS_PORT: port, AMBIENT_METRICS_BIND: bind, AMBIENT_METRICS_KEY: key } = config
  const isLocal = /^(127\.|::1$|localhost$)/.test(bind)
  if (port !== 0 && !isLocal && key === undefined)
    throw new ConfigError(`AMBIENT_METRICS_BIND is ${bind}, which others reach: set AMBIENT_METRICS_KEY too.`)
  const registry = createRegistry(part, version)
  const close = listenForScrapes({ registry, more: temporal, port, bind, key, log })
  return { registry, close }
}
