// Removes what a host holds of runs that nobody wants any more.
import type { Host } from './host.ts'

/**
 * Removes the named runs, of those that this host holds. One that cannot be
 * removed now does not keep the others from it; the next sweep tries again.
 */
export async function sweep(
  host: Pick<Host, 'list' | 'remove'>,
  remove: readonly string[],
): Promise<{ removed: string[]; failed: { runId: string; error: unknown }[] }> {
  const wanted = new Set(remove)
  const removed: string[] = []
  const failed: { runId: string; error: unknown }[] = []
  for (const { runId } of await host.list()) {
    if (!wanted.has(runId)) continue
    try {
      await host.remove(runId)
      removed.push(runId)
    } catch (error) {
      failed.push({ runId, error })
    }
  }
  return { removed, failed }
}
