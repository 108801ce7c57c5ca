// What the gateway tells: the calls of agents to models.
import { Counter, Histogram, type Registry } from 'prom-client'
import type { CallRefusal } from '../domain/models/call.ts'
import { LONG_BUCKETS } from './registry.ts'

export interface ModelCall {
  provider: string
  /** Of the answer; null when the provider did not give one. */
  status: number | null
  milliseconds: number
}

export interface GatewayMetrics {
  called(call: ModelCall): void
  /** A call that was not passed on. */
  refused(reason: CallRefusal['reason']): void
}

export function createGatewayMetrics(registry: Registry): GatewayMetrics {
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
  const refusals = new Counter({
    name: 'ambient_model_calls_refused_total',
    help: 'Calls of agents that were not passed on: budget and credits are used up, rules do not allow the model, unpriced ones would not count.',
    labelNames: ['reason'],
    registers,
  })
  return {
    called({ provider, status, milliseconds }) {
      calls.inc({ provider, status: status === null ? 'none' : String(status) })
      seconds.observe({ provider }, milliseconds / 1000)
    },
    refused: (reason) => refusals.inc({ reason }),
  }
}
