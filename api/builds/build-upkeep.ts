// Keeps builds going where no request does: by age, and where a workflow is gone.
import { type Client, WorkflowNotFoundError } from '@temporalio/client'
import type { Logger } from 'pino'
import { quietBuilds, rebuildOld } from '../../store/builds/build-upkeep.ts'
import { recordBuild } from '../../store/builds/builds.ts'
import type { Db } from '../../store/database.ts'
import { buildWorkflowId } from '../../workflows/contract.ts'
import { regularly } from '../regularly.ts'
import type { BuildStarter } from './build-starter.ts'

/** How often it is asked what has become old. In milliseconds. */
const AGE_MS = 20_000
/** How often it is asked whether builds that go on have a workflow. In milliseconds. */
const QUIET_MS = 20_000
/** Most that are asked for at a time; the next round goes on after them. */
const AT_ONCE = 100
/** A call to Temporal is answered in milliseconds, or Temporal is away. */
const CALL_MS = 5_000

export interface BuildUpkeep {
  rebuild(): Promise<void>
  /** Ends, as failed, what no workflow will end. */
  endAbandoned(): Promise<void>
}

export function makeBuildUpkeep({
  db,
  client,
  builds,
  log,
}: {
  db: Db
  client: Client
  builds: Pick<BuildStarter, 'nudge'>
  log: Logger
}): BuildUpkeep {
  let after: string | null = null
  return {
    async rebuild() {
      const asked = await rebuildOld(db)
      if (asked.length > 0) builds.nudge()
    },
    async endAbandoned() {
      const ids: string[] = await quietBuilds(db, { after, limit: AT_ONCE })
      after = ids.length === AT_ONCE ? (ids.at(-1) ?? null) : null
      for (const buildId of ids) {
        if (await isUnderWay(client, buildId)) continue
        const failure = { code: 'internal_error', phase: 'setup', message: GONE, nextStep: 'Build once more.' } as const
        if ((await recordBuild(db, { buildId, end: { kind: 'failed', failure } })) !== null)
          log.warn({ build: buildId }, 'the workflow of a build is gone; the build has failed')
      }
    },
  }
}

const GONE =
  'The workflow of this build is gone: an operator terminated it, or the database of Temporal was lost or restored.'

async function isUnderWay(client: Client, buildId: string): Promise<boolean> {
  try {
    const { status } = await client.connection.withDeadline(Date.now() + CALL_MS, () =>
      client.workflow.getHandle(buildWorkflowId(buildId)).describe(),
    )
    return status.name === 'RUNNING'
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false
    throw error
  }
}

/** Begins at once; returns how to stop it. */
export function attendBuilds(upkeep: BuildUpkeep, log: Logger): () => void {
  return regularly(log, [
    { work: upkeep.rebuild, everyMs: AGE_MS, what: 'the look for builds that have become old' },
    { work: upkeep.endAbandoned, everyMs: QUIET_MS, what: 'the look for builds without a workflow' },
  ])
}
