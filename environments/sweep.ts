// Makes what a host has agree with what its server says that it should have.
import type { Host } from './host.ts'

export interface SweepOrders {
  /** Runs of which nothing may stay. */
  remove: readonly string[]
  /** Runs that may have files here, and nothing that runs. */
  stop: readonly string[]
}

export interface Swept {
  removed: string[]
  stopped: string[]
  failed: { runId: string; error: unknown }[]
}

/**
 * Carries the orders out, as far as they concern what this host has. A run that
 * cannot be ended now does not keep the others from it; the next sweep tries
 * again.
 */
export async function sweep(host: Pick<Host, 'list' | 'remove' | 'stop'>, orders: SweepOrders): Promise<Swept> {
  const [remove, stop] = [new Set(orders.remove), new Set(orders.stop)]
  const swept: Swept = { removed: [], stopped: [], failed: [] }
  for (const { runId, running } of await host.list()) {
    try {
      if (remove.has(runId)) {
        await host.remove(runId)
        swept.removed.push(runId)
      } else if (running && stop.has(runId)) {
        await host.stop(runId)
        swept.stopped.push(runId)
      }
    } catch (error) {
      swept.failed.push({ runId, error })
    }
  }
  return swept
}
