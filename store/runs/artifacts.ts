// What runs have handed over beside their repositories.
import { type Selectable, sql } from 'kysely'
import type { ArtifactType, RunArtifact } from '../../domain/artifact.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { type LockedRun, lockRun, refuseOlder } from '../locking.ts'
import type { ArtifactsTable } from '../schema.ts'
import { newUid } from '../uid.ts'
import { noteForWebhooks } from '../webhook-deliveries.ts'
import { insertEvents } from './events.ts'
import { noteReference } from './external-references.ts'

export interface NewArtifact {
  type: ArtifactType
  /** By which a second report of the same is known, within the run. */
  key: string
  /** As it is served with its run, without `artifact_uid`, which is added where the type has it. */
  data: Record<string, unknown>
  contentUid?: string | null
  /** Below the workspace, for its host to fetch. */
  wantedPath?: string | null
}

/**
 * Notes what the current execution of a run hands over; what was reported under
 * the same key gets what is newer. The caller holds the run's lock. @returns its uid
 */
export async function reportArtifact(tx: Tx, run: Pick<LockedRun, 'id' | 'execution'>, artifact: NewArtifact) {
  const uid = newUid()
  const data = { ...artifact.data, ...(artifact.type === 'PLAN' ? { document_uid: uid } : {}), artifact_uid: uid }
  const row = await tx
    .insertInto('artifacts')
    .values({
      uid,
      run_id: run.id,
      execution: Math.max(1, run.execution),
      key: artifact.key,
      type: artifact.type,
      data: jsonb(data),
      content_uid: artifact.contentUid ?? null,
      wanted_path: artifact.wantedPath ?? null,
    })
    .onConflict((conflict) =>
      conflict.columns(['run_id', 'key']).doUpdateSet((eb) => ({
        data: sql`artifacts.data || excluded.data || jsonb_build_object('artifact_uid', artifacts.uid)`,
        content_uid: eb.fn.coalesce('excluded.content_uid', 'artifacts.content_uid'),
      })),
    )
    .returning(['uid', sql<boolean>`xmax = 0`.as('isNew')])
    .executeTakeFirstOrThrow()
  // A file that its host has still to bring may yet be refused.
  if (row.isNew && artifact.wantedPath == null) await tellOutside(tx, run.id, { ...artifact, uid: row.uid, data })
  await tx.updateTable('runs').set({ updated_at: sql`now()` }).where('id', '=', run.id).execute()
  return row.uid
}

/** A run is found by the URLs that it has made, and webhooks are told. */
async function tellOutside(
  tx: Tx,
  runId: string,
  artifact: Pick<NewArtifact, 'type' | 'data'> & { uid: string },
): Promise<void> {
  const { uid, type, data } = artifact
  const isLink = type === 'PULL_REQUEST' || type === 'EXTERNAL_REFERENCE'
  if (isLink && typeof data.url === 'string') await noteReference(tx, runId, data.url)
  const event = type === 'PULL_REQUEST' ? 'run.pull_request' : 'run.artifact'
  await noteForWebhooks(tx, runId, event, { artifact_uid: uid, artifact_type: type, ...data })
}

export async function countArtifacts(db: Queryable, runId: string): Promise<number> {
  const row = await db
    .selectFrom('artifacts')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('run_id', '=', runId)
    .executeTakeFirstOrThrow()
  return row.count
}

/** By run, in the order in which they were reported. */
export async function artifactsOf(db: Queryable, runIds: readonly string[]): Promise<Map<string, RunArtifact[]>> {
  const found = new Map<string, RunArtifact[]>()
  if (runIds.length === 0) return found
  const rows = await db
    .selectFrom('artifacts')
    .select(['run_id', 'type', 'data', 'created_at'])
    .where('run_id', 'in', runIds)
    .orderBy('created_at')
    .orderBy('uid')
    .execute()
  for (const { run_id: runId, type, data, created_at: createdAt } of rows) {
    const artifact = { artifact_type: type, created_at: createdAt.toISOString(), data } as RunArtifact
    const artifacts = found.get(runId)
    if (artifacts) artifacts.push(artifact)
    else found.set(runId, [artifact])
  }
  return found
}

export type StoredArtifact = Selectable<ArtifactsTable> & { team: string }

/** Null when there is no such artifact. */
export async function findArtifact(db: Queryable, uid: string): Promise<StoredArtifact | null> {
  const row = await db
    .selectFrom('artifacts')
    .innerJoin('runs', 'runs.id', 'artifacts.run_id')
    .selectAll('artifacts')
    .select('runs.team')
    .where('artifacts.uid', '=', uid)
    .executeTakeFirst()
  return row ?? null
}

/** What the latest ended execution of a run has handed over that can be fetched. */
export async function handedOver(db: Queryable, runId: string): Promise<StoredArtifact[]> {
  return await db
    .selectFrom('artifacts')
    .innerJoin('runs', 'runs.id', 'artifacts.run_id')
    .selectAll('artifacts')
    .select('runs.team')
    .where('run_id', '=', runId)
    .where('content_uid', 'is not', null)
    .where('artifacts.execution', '=', (eb) =>
      eb
        .selectFrom('executions')
        .select((last) => last.fn.max('executions.execution').as('execution'))
        .where('executions.run_id', '=', runId)
        .where('executions.finished_at', 'is not', null),
    )
    .orderBy('artifacts.created_at')
    .orderBy('artifacts.uid')
    .execute()
}

/** Files that the run's host has still to hand over. */
export async function wantedFiles(db: Queryable, runId: string): Promise<{ artifact_uid: string; path: string }[]> {
  const rows = await db
    .selectFrom('artifacts')
    .select(['uid', 'wanted_path'])
    .where('run_id', '=', runId)
    .where('wanted_path', 'is not', null)
    .orderBy('created_at')
    .execute()
  return rows.map(({ uid, wanted_path: path }) => ({ artifact_uid: uid, path: path ?? '' }))
}

/**
 * The host has brought a file, or says why it cannot: then the report is taken
 * back, which the transcript tells. A second answer changes nothing.
 * @throws {FencedError} when a newer execution has begun.
 */
export async function settleWanted(
  db: Db,
  { runId, execution }: ExecutionRef,
  uid: string,
  outcome: { contentUid: string; bytes: number } | { refused: string },
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    refuseOlder(run, execution)
    const artifact = await tx
      .selectFrom('artifacts')
      .select(['uid', 'type', 'data', 'wanted_path'])
      .where('uid', '=', uid)
      .where('run_id', '=', runId)
      .where('wanted_path', 'is not', null)
      .executeTakeFirst()
    if (!artifact) return
    if ('refused' in outcome) {
      await tx.deleteFrom('artifacts').where('uid', '=', uid).execute()
      const message = `${artifact.wanted_path ?? ''} was reported and could not be taken over: ${outcome.refused}.`
      const data = { code: 'artifact_not_taken', message, artifact_uid: uid }
      await insertEvents(tx, run, execution, `artifact-${uid}`, [
        { line: 1, part: 0, time: new Date().toISOString(), kind: 'warning', data },
      ])
      return
    }
    const data = { ...artifact.data, ...(artifact.type === 'FILE' ? { size_bytes: outcome.bytes } : {}) }
    await tx
      .updateTable('artifacts')
      .set({ content_uid: outcome.contentUid, wanted_path: null, data: jsonb(data) })
      .where('uid', '=', uid)
      .execute()
    await tellOutside(tx, runId, { ...artifact, data })
    await tx.updateTable('runs').set({ updated_at: sql`now()` }).where('id', '=', runId).execute()
  })
}
