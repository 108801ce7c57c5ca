// The place in line, kept up to date on the screen's last line while a run waits.
import type { Api } from './api/client.ts'
import type { Screen } from './screen.ts'

const LOOK_MS = 3_000

/** Begins to look after a moment; returns what ends it. */
export function watchPlace(api: Api, screen: Screen, runId: string): () => void {
  let isOver = false
  const timer = setInterval(() => {
    api.get(runId).then(
      ({ queue }) => {
        if (!isOver) screen.status(queue?.message ?? null)
      },
      () => {}, // A lost connection is told by whoever reads the transcript.
    )
  }, LOOK_MS)
  return () => {
    isOver = true
    clearInterval(timer)
  }
}
