// An Ambient to be measured, of which nothing stays behind.
import type { RunItem } from '../domain/run.ts'
import { isTerminal } from '../domain/state.ts'
import { type Stack, startStack } from '../test/support/stack.ts'

export async function startAmbient(host: Stack['hostKind'], cleanUp: AsyncDisposableStack): Promise<Stack> {
  const starting = startStack({ host })
  // Registered first, so that an interrupt in the middle of the start finds it.
  cleanUp.defer(async () => {
    const stack = await starting
    // Agents outlive the Ambient that is stopped; where a measure broke off, some are still at work.
    await cancelRuns(stack)
    await stack.stop()
  })
  return starting
}

async function cancelRuns({ call, until }: Stack): Promise<void> {
  const { body } = await call<{ runs: RunItem[] }>('GET', '/api/v1/agent/runs?limit=100')
  const running = body.runs.filter(({ state }) => !isTerminal(state))
  await Promise.all(
    running.map(async ({ run_id: runId }) => {
      await call('POST', `/api/v1/agent/runs/${runId}/cancel`)
      await until(runId, 'CANCELLED')
    }),
  )
}
