// Helper: sees whether the Temporal server that was set answers, and has the namespace.
import { setTimeout as delay } from 'node:timers/promises'
import { isGrpcServiceError } from '@temporalio/client'
import { loadConfig } from '../../config.ts'
import { connectClient } from '../../temporal.ts'
import { helperMain } from './helper.ts'
import type { TemporalCheck } from './reach.ts'

const [, , patienceMs, attemptMs] = process.argv

// As gRPC numbers them.
const NOT_FOUND = 5
const PERMISSION_DENIED = 7
const UNAUTHENTICATED = 16

const config = loadConfig()
const client = connectClient(config)
await helperMain(async (): Promise<TemporalCheck> => {
  const deadline = Date.now() + Number(patienceMs)
  for (;;) {
    const found = await attempt()
    if (found.problem !== 'away' || Date.now() > deadline) {
      await client.connection.close()
      return found
    }
    await delay(500)
  }
})

async function attempt(): Promise<TemporalCheck> {
  try {
    await client.connection.withDeadline(Date.now() + Number(attemptMs), () =>
      client.workflowService.describeNamespace({ namespace: config.TEMPORAL_NAMESPACE }),
    )
    return { problem: null, reason: '' }
  } catch (error) {
    const failure = error instanceof Error && error.cause instanceof Error ? error.cause : error
    const code = isGrpcServiceError(failure) ? failure.code : null
    const reason = (isGrpcServiceError(failure) ? failure.details : String(failure))
      .replace(/^No connection established\. Last error: (Error: )?/, '')
      .replace(/\.?\s*Resolution note:.*$/s, '')
    if (code === NOT_FOUND) return { problem: 'namespace', reason }
    if (code === PERMISSION_DENIED || code === UNAUTHENTICATED) return { problem: 'refused', reason }
    return { problem: 'away', reason }
  }
}
