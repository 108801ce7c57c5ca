// Keeps runs moving where no workflow does: hosts come and go by themselves, and a workflow may be gone.
import { type Client, WorkflowNotFoundError } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Db } from '../store/database.ts'
import { keepLineMoving } from '../store/queue/admission.ts'
import { dropPlace, type HeldPlace, heldPlaces } from '../store/queue/places.ts'
import { quietRuns, seeToAbandoned } from '../store/runs/abandoned.ts'
import { workflowId } from '../workflows/contract.ts'
import { regularly } from './regularly.ts'

/** How often the line is looked at though nobody came or went. In milliseconds. */
const LINE_MS = 5_000
/** How often it is asked whether those that hold a place are still there. In milliseconds. */
const HELD_MS = 60_000
/** How often it is asked whether runs that are not over have a workflow. In milliseconds. */
const QUIET_MS = 20_000
/** Most that are asked for at a time; the next round goes on after them. */
const AT_ONCE = 100
/** A call to Temporal is answered in milliseconds, or Temporal is away. */
const CALL_MS = 5_000

/** Begins at once; returns how to stop it. */
export function attendQueue({ db, client, log }: { db: Db; client: Client; log: Logger }): () => void {
  let afterPlace: string | null = null
  let afterRun: string | null = null

  async function dropLost(): Promise<void> {
    const held: HeldPlace[] = await heldPlaces(db, { after: afterPlace, limit: AT_ONCE })
    afterPlace = held.length === AT_ONCE ? (held.at(-1)?.runId ?? null) : null
    for (const place of held) {
      if ((await seeTo(place.runId)) === 'is over' && (await dropPlace(db, place)))
        log.warn({ run: place.runId }, 'the workflow of a run is gone; its place is free')
    }
  }

  async function takeUpLost(): Promise<void> {
    const runs: string[] = await quietRuns(db, { after: afterRun, limit: AT_ONCE })
    afterRun = runs.length === AT_ONCE ? (runs.at(-1) ?? null) : null
    for (const runId of runs) await seeTo(runId)
  }

  async function seeTo(runId: string): Promise<'moves' | Awaited<ReturnType<typeof seeToAbandoned>>> {
    const end = await endOf(client, runId)
    if (end === null) return 'moves'
    const outcome = await seeToAbandoned(db, runId, end)
    if (outcome !== 'is over' && outcome !== 'moves')
      log.warn({ run: runId, reason: end.reason }, `a run without a workflow ${outcome}`)
    return outcome
  }

  return regularly(log, [
    { work: () => keepLineMoving(db), everyMs: LINE_MS, what: 'the look at the line of waiting runs' },
    { work: dropLost, everyMs: HELD_MS, what: 'the look for places of runs that are gone' },
    { work: takeUpLost, everyMs: QUIET_MS, what: 'the look for runs without a workflow' },
  ])
}

/** How the workflow of this run has ended, in words for people; null while it is under way. */
async function endOf(client: Client, runId: string): Promise<{ terminated: boolean; reason: string } | null> {
  try {
    const { status } = await client.connection.withDeadline(Date.now() + CALL_MS, () =>
      client.workflow.getHandle(workflowId(runId)).describe(),
    )
    if (status.name === 'RUNNING') return null
    return status.name === 'TERMINATED'
      ? { terminated: true, reason: 'An operator terminated its workflow.' }
      : { terminated: false, reason: LOST }
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return { terminated: false, reason: LOST }
    throw error
  }
}

const LOST =
  'Temporal no longer knows what this run was at: its database was lost, or restored from another moment. ' +
  'Send a follow-up to have the run go on.'
