// Runs on the worker that holds the sandbox. How far the journals of this host have been stored, as its own last words tell.
import { setLatest } from '../../domain/latest.ts'
import type { HostServer } from './server.ts'

/** So many journals are remembered; the server knows of the others. */
const MOST = 1_000

/**
 * A journal is written from one host alone, so what the server answered to its
 * last append holds until the next one. Whoever was not answered asks.
 */
export function keepPositions(server: HostServer): HostServer {
  const kept = new Map<string, number>()
  return {
    ...server,
    async append(runId, execution, batch, signal) {
      const key = `${runId}/${batch.journal}`
      kept.delete(key)
      const appended = await server.append(runId, execution, batch, signal)
      setLatest(kept, key, appended.line, MOST)
      return appended
    },
    async position(runId, journal, signal) {
      return kept.get(`${runId}/${journal}`) ?? (await server.position(runId, journal, signal))
    },
  }
}
