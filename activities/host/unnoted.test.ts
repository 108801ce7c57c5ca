import { pino } from 'pino'
import { expect, test } from 'vitest'
import { inWorld, useTemporal } from '../../test/support/world.ts'
import { hostQueue } from '../../workflows/contract.ts'
import { handBackUnnoted, hostIdentity } from './unnoted.ts'

const temporal = useTemporal()
const log = pino({ level: 'silent' })

/** What a worker of this name is handed. */
async function handed(hostId: string, identity: string) {
  const client = temporal.client()
  const task = await client.withDeadline(Date.now() + 10_000, () =>
    client.workflowService.pollActivityTaskQueue({
      namespace: 'default',
      taskQueue: { name: hostQueue(hostId) },
      identity,
    }),
  )
  return { what: task.activityType?.name, attempt: task.attempt }
}

test('what a worker was handed and killed with goes on at once, and nobody else loses anything', async () => {
  // The world plays no host of this name: the test does.
  await inWorld({ claims: ['lost'], plan: { attempts: 1 } }, async ({ runId, prompt, terminate }) => {
    const hostId = `host-${runId}-lost`
    const [killed, successor] = [hostIdentity(hostId), hostIdentity(hostId)]
    await prompt()
    expect(await handed(hostId, killed.own)).toEqual({ what: 'prepare', attempt: 1 })

    // Neither another host nor the process itself takes it from the one that has it.
    await handBackUnnoted(temporal.client(), hostIdentity('another'), [runId], log)
    await handBackUnnoted(temporal.client(), killed, [runId], log)
    await handBackUnnoted(temporal.client(), successor, ['00000000-0000-4000-8000-000000000000', runId], log)

    // Long before the heartbeat's timeout of 30 s.
    expect(await handed(hostId, successor.own)).toEqual({ what: 'prepare', attempt: 2 })
    await terminate()
  })
})
