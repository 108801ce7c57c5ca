// Has hosts read the skills of environments: asks for what is due, and starts the workflows. Both are in the database
// before, so that nothing is lost when this process or Temporal is away.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, WorkflowExecutionAlreadyStartedError } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Config } from '../../config.ts'
import type { Db } from '../../store/database.ts'
import {
  askForDueReadings,
  markReadingDispatched,
  tidyReadings,
  undeliveredReadings,
} from '../../store/skills/readings.ts'
import { createSweeper } from '../../store/sweeper.ts'
import {
  ORCHESTRATOR_QUEUE,
  SKILLS_WORKFLOW,
  type SkillReadingInput,
  skillsWorkflowId,
} from '../../workflows/contract.ts'
import { isAway } from '../dispatcher.ts'
import { causeOf } from '../hand-over.ts'

export interface SkillReader {
  /** There may be something to read. Returns at once. */
  nudge(): void
  /** Stops, once the call in hand has been answered or a second is over. */
  close(): Promise<void>
}

/** How often it is asked what is due when nobody has said anything. */
const SWEEP_MS = 5_000
/** Most of one sweep; the next one takes the rest. */
const AT_ONCE = 100
/** Temporal answers in milliseconds or is away. */
const CALL_MS = 5_000
const CLOSE_MS = 1_000

export interface SkillReaderDeps {
  db: Db
  client: Client
  config: Pick<Config, 'AMBIENT_HOST_LOST_SECONDS' | 'AMBIENT_POOL' | 'AMBIENT_SKILLS_MINUTES'>
  log: Logger
}

export function createSkillReader({ db, client, config, log }: SkillReaderDeps): SkillReader {
  const closing = new AbortController()

  async function start({ id, hostId }: { id: string; hostId: string }): Promise<void> {
    const input: SkillReadingInput = { readingId: id, hostId, hostLostSeconds: config.AMBIENT_HOST_LOST_SECONDS }
    try {
      await client.connection.withDeadline(Date.now() + CALL_MS, () =>
        client.workflow.start(SKILLS_WORKFLOW, {
          workflowId: skillsWorkflowId(id),
          taskQueue: ORCHESTRATOR_QUEUE,
          args: [input],
          workflowIdReusePolicy: 'REJECT_DUPLICATE',
          staticSummary: 'the skills of an environment',
        }),
      )
    } catch (error) {
      // It was started, and the process ended before it could note that.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    }
    await markReadingDispatched(db, id)
  }

  async function sweep(): Promise<void> {
    await tidyReadings(db)
    await askForDueReadings(db, { pool: config.AMBIENT_POOL, ageMinutes: config.AMBIENT_SKILLS_MINUTES })
    for (const reading of await undeliveredReadings(db, AT_ONCE)) {
      if (closing.signal.aborted) return
      try {
        await start(reading)
      } catch (error) {
        log.warn({ reading: reading.id, reason: causeOf(error) }, 'a reading of skills could not be handed over')
        // The others need not try.
        if (isAway(error)) return
      }
    }
  }

  const sweeper = createSweeper({
    sweep,
    everyMs: SWEEP_MS,
    closing: closing.signal,
    onError: (error) => log.warn({ reason: String(error) }, 'the look for skills to read failed; it is tried again'),
  })

  return {
    nudge: sweeper.nudge,
    async close() {
      closing.abort()
      await Promise.race([sweeper.ended, sleep(CLOSE_MS, undefined, { ref: false })])
    },
  }
}
