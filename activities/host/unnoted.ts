// Runs on the worker that holds the sandbox. What a killed predecessor had in hand without a note of it.
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { ActivityNotFoundError, type Client, WorkflowNotFoundError } from '@temporalio/client'
import type { Logger } from 'pino'
import { hostQueue, workflowId } from '../../workflows/contract.ts'
import { giveBack } from './attended.ts'

/** PENDING_ACTIVITY_STATE_STARTED of Temporal's API. */
const STARTED = 2
/** Runs that are asked for at the same time. */
const LANES = 10
/** A call to Temporal is answered in milliseconds, or Temporal is away. */
const CALL_MS = 5_000

/** Who an activity's worker says it is. Each process of a host is another one. */
export interface HostIdentity {
  /** Of all its processes. */
  host: string
  own: string
}

export function hostIdentity(hostId: string): HostIdentity {
  const host = `${hostQueue(hostId)}/`
  // The end is what the container's health check knows its own process by.
  return { host, own: `${host}${randomUUID()}@${hostname()}` }
}

/**
 * Gives back what Temporal believes to be in the hands of a former process of
 * this host: it may have been killed between being handed an activity and the
 * note of it. Looks at these runs alone.
 */
export async function handBackUnnoted(
  client: Client,
  { host, own }: HostIdentity,
  runIds: readonly string[],
  log: Logger,
): Promise<void> {
  const waiting = [...runIds]
  const lane = async () => {
    for (let runId = waiting.pop(); runId !== undefined; runId = waiting.pop()) {
      for (const held of await startedActivities(client, runId)) {
        if (!held.worker.startsWith(host) || held.worker === own) continue
        await giveBack(client, held.activity).catch((error: unknown) => {
          // It has ended or timed out meanwhile.
          if (!(error instanceof ActivityNotFoundError)) throw error
        })
        log.info({ run: runId, activity: held.activity.activityId }, 'gave back an activity that was not noted')
      }
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
}

async function startedActivities(client: Client, runId: string) {
  try {
    const { raw } = await client.withDeadline(Date.now() + CALL_MS, () =>
      client.workflow.getHandle(workflowId(runId)).describe(),
    )
    return (raw.pendingActivities ?? [])
      .filter(({ state }) => state === STARTED)
      .map(({ activityId, lastWorkerIdentity }) => ({
        worker: lastWorkerIdentity ?? '',
        activity: {
          workflowId: workflowId(runId),
          runId: raw.workflowExecutionInfo?.execution?.runId ?? '',
          activityId: activityId ?? '',
        },
      }))
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return []
    throw error
  }
}
