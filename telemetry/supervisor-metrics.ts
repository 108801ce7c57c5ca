// What the supervisor tells: which parts run, and how often they had to be started again.
import { Counter, Gauge, type Registry } from 'prom-client'

export interface SupervisorMetrics {
  started(part: string): void
  died(part: string): void
}

export function createSupervisorMetrics(registry: Registry): SupervisorMetrics {
  const registers = [registry]
  const up = new Gauge({
    name: 'ambient_part_up',
    help: '1 while the part runs.',
    labelNames: ['part'],
    registers,
  })
  const deaths = new Counter({
    name: 'ambient_part_deaths_total',
    help: 'Ends of a part that nobody asked for.',
    labelNames: ['part'],
    registers,
  })
  return {
    started(part) {
      up.set({ part }, 1)
      deaths.inc({ part }, 0)
    },
    died(part) {
      up.set({ part }, 0)
      deaths.inc({ part })
    },
  }
}
