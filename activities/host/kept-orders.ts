// Runs on the worker that holds the sandbox. What a host has been told of an execution once.
import type { ExecutionOrder } from '../../domain/host-api.ts'
import { setLatest } from '../../domain/latest.ts'
import type { HostServer } from './server.ts'

/**
 * An execution's order changes by nothing but this host's own checkpoints, and
 * each of its activities begins with it: the server tells it with the claim, or is asked once, as long as no
 * more than `most` others were asked for since. That a newer execution has taken
 * the run is heard with the next request.
 */
export function keepOrders(server: HostServer, most: number): HostServer {
  const kept = new Map<string, ExecutionOrder>()
  return {
    ...server,
    async claim(runId, execution, signal) {
      const answer = await server.claim(runId, execution, signal)
      if (answer.order) setLatest(kept, `${runId}/${execution}`, answer.order, most)
      return answer
    },
    async order(runId, execution, signal) {
      const key = `${runId}/${execution}`
      const known = kept.get(key)
      if (known !== undefined) return known
      const order = await server.order(runId, execution, signal)
      setLatest(kept, key, order, most)
      return order
    },
    async saveCheckpoint(runId, execution, sent, signal) {
      await server.saveCheckpoint(runId, execution, sent, signal)
      if (sent.late) return
      const key = `${runId}/${execution}`
      const order = kept.get(key)
      if (order !== undefined) kept.set(key, { ...order, has_checkpoint: true })
    },
  }
}
