// Keeps the line of waiting runs moving where no run does: hosts come and go by themselves, and an operator may end a workflow.
import { type Client, WorkflowNotFoundError } from '@temporalio/client'
import type { Logger } from 'pino'
import { cancelAbandoned } from '../store/abandoned.ts'
import { keepLineMoving } from '../store/admission.ts'
import type { Db } from '../store/database.ts'
import { dropPlace, type HeldPlace, heldPlaces } from '../store/places.ts'
import { workflowId } from '../workflows/contract.ts'

/** How often the line is looked at though nobody came or went. In milliseconds. */
const LINE_MS = 5_000
/** How often it is asked whether those that hold a place are still there. In milliseconds. */
const HELD_MS = 60_000
/** Most that are asked for at a time; the next round goes on after them. */
const HELD_AT_ONCE = 100
/** A call to Temporal is answered in milliseconds, or Temporal is away. */
const CALL_MS = 5_000

/** Begins at once; returns how to stop it. */
export function attendQueue({ db, client, log }: { db: Db; client: Client; log: Logger }): () => void {
  let after: string | null = null

  async function dropLost(): Promise<void> {
    const held: HeldPlace[] = await heldPlaces(db, { after, limit: HELD_AT_ONCE })
    after = held.length === HELD_AT_ONCE ? (held.at(-1)?.runId ?? null) : null
    for (const place of held) {
      if (!(await hasEnded(client, place.runId))) continue
      if (await cancelAbandoned(db, place.runId)) {
        log.warn({ run: place.runId }, 'the workflow of a run is gone; the run is cancelled')
      } else if (await dropPlace(db, place)) {
        log.warn({ run: place.runId }, 'the workflow of a run is gone; its place is free')
      }
    }
  }

  const every = (work: () => Promise<void>, milliseconds: number, what: string) =>
    setInterval(() => {
      work().catch((error: unknown) =>
        log.warn({ reason: String(error) }, `${what} did not succeed; it is tried again`),
      )
    }, milliseconds)
  const timers = [
    every(() => keepLineMoving(db), LINE_MS, 'the look at the line of waiting runs'),
    every(dropLost, HELD_MS, 'the look for places of runs that are gone'),
  ]
  return () => {
    for (const timer of timers) clearInterval(timer)
  }
}

/** True when no workflow of this run is under way. */
async function hasEnded(client: Client, runId: string): Promise<boolean> {
  try {
    const { status } = await client.connection.withDeadline(Date.now() + CALL_MS, () =>
      client.workflow.getHandle(workflowId(runId)).describe(),
    )
    return status.name !== 'RUNNING'
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return true
    throw error
  }
}
