// Starts the workflows of builds, and tells them of cancels. Both are in the database before, so that nothing is lost when
// this process or Temporal is away.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import type { SearchAttributePair } from '@temporalio/common'
import type { Logger } from 'pino'
import type { Config } from '../../config.ts'
import { markBuildDispatched, type UndeliveredBuild, undeliveredBuilds } from '../../store/builds/build-upkeep.ts'
import type { Db } from '../../store/database.ts'
import { createSweeper } from '../../store/sweeper.ts'
import {
  BUILD_WORKFLOW,
  buildWorkflowId,
  type EnvironmentBuildInput,
  ORCHESTRATOR_QUEUE,
} from '../../workflows/contract.ts'
import { buildAttributes } from '../../workflows/search-attributes.ts'
import { isAway } from '../dispatcher.ts'
import { causeOf, startWithAttributes } from '../hand-over.ts'
import type { AttributeRegistration } from '../search-attributes.ts'

export interface BuildStarter {
  /** There may be builds to start. Returns at once. */
  nudge(): void
  /** Stops, once the call in hand has been answered or a second is over. */
  close(): Promise<void>
}

/** How often the database is asked when nobody has said anything: another process may have written a build. */
const SWEEP_MS = 2_000
/** Most of one sweep; the next one takes the rest. */
const AT_ONCE = 100
/** Temporal answers in milliseconds or is away. */
const CALL_MS = 5_000
const CLOSE_MS = 1_000

export interface BuildStarterDeps {
  db: Db
  client: Client
  attributes: Pick<AttributeRegistration, 'ready' | 'refused'>
  config: Pick<Config, 'AMBIENT_HOST_LOST_SECONDS'>
  log: Logger
}

export function createBuildStarter({ db, client, attributes, config, log }: BuildStarterDeps): BuildStarter {
  const closing = new AbortController()

  const call = <T>(work: () => Promise<T>) => client.connection.withDeadline(Date.now() + CALL_MS, work)

  async function start({ id, hostId, environment, environmentId, team, reason }: UndeliveredBuild): Promise<void> {
    const input: EnvironmentBuildInput = { buildId: id, hostId, hostLostSeconds: config.AMBIENT_HOST_LOST_SECONDS }
    const startWith = (typedSearchAttributes: SearchAttributePair[]) =>
      call(() =>
        client.workflow.start(BUILD_WORKFLOW, {
          workflowId: buildWorkflowId(id),
          taskQueue: ORCHESTRATOR_QUEUE,
          args: [input],
          workflowIdReusePolicy: 'REJECT_DUPLICATE',
          staticSummary: `environment build: ${environment}`,
          staticDetails: `Of the environment ${environmentId}, on ${hostId}. Asked for: ${reason}.`,
          ...(typedSearchAttributes.length > 0 ? { typedSearchAttributes } : {}),
        }),
      )
    try {
      await startWithAttributes(attributes, buildAttributes({ environmentId, team }), startWith)
    } catch (error) {
      // It was started, and the process ended before it could note that.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    }
    await markBuildDispatched(db, id, 'start')
  }

  async function cancel({ id }: UndeliveredBuild): Promise<void> {
    try {
      await call(() => client.workflow.getHandle(buildWorkflowId(id)).cancel())
    } catch (error) {
      // It has ended meanwhile.
      if (!(error instanceof WorkflowNotFoundError)) throw error
    }
    await markBuildDispatched(db, id, 'cancel')
  }

  async function sweep(): Promise<void> {
    for (const build of await undeliveredBuilds(db, AT_ONCE)) {
      if (closing.signal.aborted) return
      try {
        if (!build.isStarted) await start(build)
        if (build.isCancelled) await cancel(build)
      } catch (error) {
        log.warn(
          { build: build.id, reason: causeOf(error) },
          'a build could not be handed over; it will be tried again',
        )
        // The others need not try.
        if (isAway(error)) return
      }
    }
  }

  const sweeper = createSweeper({
    sweep,
    everyMs: SWEEP_MS,
    closing: closing.signal,
    onError: (error) =>
      log.warn({ reason: String(error) }, 'the look for builds to hand over failed; it is tried again'),
  })

  return {
    nudge: sweeper.nudge,
    async close() {
      closing.abort()
      await Promise.race([sweeper.ended, sleep(CLOSE_MS, undefined, { ref: false })])
    },
  }
}
