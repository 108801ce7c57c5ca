// What the gateway tells: the calls of agents to models.
import { Counter, Histogram, type Registry } from 'prom-client'
import { LONG_BUCKETS } from './registry.ts'

export interface ModelCall {
  provider: string
  /** Of the answer; null when the provider did not give one. */
  status: number | null
  milliseconds: number
}

export function createGatewayMetrics(registry: Registry): (call: ModelCall) => void {
  const registers = [registry]
  const calls = new Counter({
    name: 'ambient_model_calls_total',
    help: 'Calls of agents to models, by provider and status of the answer.',
    labelNames: ['provider', 'status'],
    registers,
  })
  const seconds = new Histogram({
    name: 'ambient_model_call_seconds',
    help: 'Time from the call of an agent to the end of the answer.',
    labelNames: ['provider'],
    buckets: LONG_BUCKETS,
    registers,
  })
  return ({ provider, status, milliseconds }) => {
    calls.inc({ provider, status: status === null ? 'none' : String(status) })
    seconds.observe({ provider }, milliseconds / 1000)
  }
}
