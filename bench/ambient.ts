// An Ambient to be measured, of which nothing stays behind.
import type { RunItem } from '../domain/run.ts'
import { isTerminal, runStates } from '../domain/state.ts'
import { type Stack, startStack } from '../test/support/stack.ts'

export async function startAmbient(
  host: Stack['hostKind'],
  cleanUp: AsyncDisposableStack,
  env: Record<string, string> = {},
): Promise<Stack> {
  const starting = startStack({ host, env })
  // Registered first, so that an interrupt in the middle of the start finds it.
  cleanUp.defer(async () => {
    const stack = await starting
    // Agents outlive the Ambient that is stopped; where a measure broke off, some are still at work.
    try {
      await cancelRuns(stack)
    } finally {
      await stack.stop()
    }
  })
  return starting
}

/** For all of them: a measure may break off with thousands. What is left then is ended with its host's directory. */
const CANCEL_MS = 5 * 60_000

async function cancelRuns({ call, until }: Stack): Promise<void> {
  const open = runStates.filter((state) => !isTerminal(state)).map((state) => `state=${state}`)
  const late = AbortSignal.timeout(CANCEL_MS)
  while (!late.aborted) {
    const { status, body } = await call<{ runs: RunItem[] }>('GET', `/api/v1/agent/runs?limit=100&${open.join('&')}`)
    if (status !== 200) throw new Error(`the runs could not be listed: ${status} ${JSON.stringify(body)}`)
    if (body.runs.length === 0) return
    await Promise.all(
      body.runs.map(async ({ run_id: runId }) => {
        const { status } = await call('POST', `/api/v1/agent/runs/${runId}/cancel`)
        // One that has ended meanwhile refuses it, and one that is at its end may be quicker.
        if (status === 200) await until(runId, 'CANCELLED').catch(() => {})
      }),
    )
  }
}
