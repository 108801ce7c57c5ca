// Schedules: what they are. A team in every query. Temporal has their clock, and is told of each change (see handed_revision).
import { type Selectable, sql } from 'kysely'
import type { CreateSchedule, UpdateSchedule } from '../../domain/schedule.ts'
import { note, SYSTEM } from '../audit.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb, storableText } from '../json.ts'
import type { SchedulesTable } from '../schema.ts'
import { isTaken } from '../taken.ts'
import { newUid } from '../uid.ts'

export type ScheduleRow = Selectable<SchedulesTable>

/** Another schedule of the team has this name, or another personal one of the same person. */
export class ScheduleNameTakenError extends Error {
  override readonly name = 'ScheduleNameTakenError'
  constructor(taken: string) {
    super(`There is a schedule "${taken}" already.`)
  }
}

/** Who asks: a personal schedule is seen by its owner, and by whoever sees all. */
export interface ScheduleViewer {
  team: string
  uid: string
  seesAll: boolean
}

/** Who makes or changes one. */
export interface By {
  type: SchedulesTable['created_by_type']
  uid: string
}

const config = (fields: UpdateSchedule) => ({
  name: storableText(fields.name),
  cron_schedule: fields.cron_schedule,
  time_zone: fields.time_zone,
  prompt: storableText(fields.prompt ?? ''),
  saved_prompt: fields.saved_prompt == null ? null : jsonb(fields.saved_prompt),
  mode: fields.mode ?? null,
  agent_uid: fields.agent_uid ?? null,
  agent_config: fields.agent_config == null ? null : jsonb(fields.agent_config),
  metadata: jsonb(fields.metadata ?? {}),
  overlap_policy: fields.overlap_policy,
  catchup_seconds: fields.catchup_window_seconds,
  jitter_seconds: fields.jitter_seconds,
  pause_after_failures: fields.pause_after_failures ?? null,
})

/** `owner`: the person whose it is; null: the team's. @throws {ScheduleNameTakenError} */
export async function insertSchedule(
  tx: Tx,
  { team, owner, by }: { team: string; owner: string | null; by: By },
  fields: CreateSchedule,
): Promise<ScheduleRow> {
  const insert = tx
    .insertInto('schedules')
    .values({
      ...config(fields),
      id: newUid(),
      team,
      owner,
      enabled: fields.enabled,
      created_by_type: by.type,
      created_by: by.uid,
      updated_by_type: by.type,
      updated_by: by.uid,
    })
    .returningAll()
  return insert.executeTakeFirstOrThrow().catch(refuseTaken(fields.name))
}

const refuseTaken = (name: string) => (error: unknown) => {
  throw isTaken(error) ? new ScheduleNameTakenError(name) : error
}

/** Everything is replaced. What had failed before is forgiven. Null when there is no such schedule. @throws {ScheduleNameTakenError} */
export async function replaceSchedule(
  tx: Tx,
  viewer: ScheduleViewer,
  id: string,
  fields: UpdateSchedule,
  by: By,
): Promise<ScheduleRow | null> {
  const set = { ...config(fields), ...enabled(fields.enabled), last_spawn_error: null }
  return change(tx, viewer, id, by, set).catch(refuseTaken(fields.name))
}

/** Null when there is no such schedule. */
export async function setScheduleEnabled(
  tx: Tx,
  viewer: ScheduleViewer,
  id: string,
  on: boolean,
  by: By,
): Promise<ScheduleRow | null> {
  return change(tx, viewer, id, by, enabled(on))
}

/** A person's word takes the place of what the server had decided. The times of a pause are nobody's to make up for. */
const enabled = (on: boolean) => ({
  enabled: on,
  paused_reason: null,
  ...(on && {
    failures: 0,
    accounted_to: sql<Date>`case when enabled then accounted_to else now() end`,
  }),
})

async function change(
  tx: Tx,
  viewer: ScheduleViewer,
  id: string,
  by: By,
  set: Record<string, unknown>,
): Promise<ScheduleRow | null> {
  const found = await visible(tx, viewer).where('id', '=', id).forNoKeyUpdate().executeTakeFirst()
  if (!found) return null
  return tx
    .updateTable('schedules')
    .set({
      ...set,
      updated_by_type: by.type,
      updated_by: by.uid,
      updated_at: sql`now()`,
      revision: sql`revision + 1`,
    })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow()
}

/** False when there is none. Its runs stay. */
export async function deleteSchedule(tx: Tx, viewer: ScheduleViewer, id: string, by: By): Promise<boolean> {
  return (await change(tx, viewer, id, by, { deleted_at: sql`now()`, enabled: false, agent_config: null })) !== null
}

/** Null when there is none. */
export async function findSchedule(db: Queryable, viewer: ScheduleViewer, id: string): Promise<ScheduleRow | null> {
  return (await visible(db, viewer).where('id', '=', id).executeTakeFirst()) ?? null
}

export async function listSchedules(db: Queryable, viewer: ScheduleViewer): Promise<ScheduleRow[]> {
  return visible(db, viewer).orderBy(sql`lower(name)`).orderBy('name').orderBy('id').execute()
}

const visible = (db: Queryable, { team, uid, seesAll }: ScheduleViewer) =>
  db
    .selectFrom('schedules')
    .selectAll()
    .where('team', '=', team)
    .where('deleted_at', 'is', null)
    .$if(!seesAll, (query) => query.where((eb) => eb.or([eb('owner', 'is', null), eb('owner', '=', uid)])))

/** Whoever is about to write a slot of it holds this first. Null when it is gone. */
export async function lockSchedule(tx: Tx, id: string): Promise<ScheduleRow | null> {
  const row = await tx
    .selectFrom('schedules')
    .selectAll()
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .forNoKeyUpdate()
    .executeTakeFirst()
  return row ?? null
}

/** Whether the last slot has started a run; why it has not, otherwise. */
export async function noteSpawn(tx: Tx, id: string, error: string | null): Promise<void> {
  await tx
    .updateTable('schedules')
    .set({ last_spawn_error: error, ...(error === null && { last_ran: sql<Date>`now()` }) })
    .where('id', '=', id)
    .execute()
}

/**
 * One more slot has come to nothing, or to a run that did not succeed; null: one
 * has succeeded. As many failures in a row as the schedule may have pause it. The
 * caller holds its lock.
 */
export async function countOutcome(
  tx: Tx,
  schedule: Pick<ScheduleRow, 'id' | 'team' | 'failures' | 'pause_after_failures' | 'enabled'>,
  failure: string | null,
  most: number,
): Promise<void> {
  const failures = failure === null ? 0 : schedule.failures + 1
  const limit = schedule.pause_after_failures ?? most
  const isPaused = schedule.enabled && limit > 0 && failures >= limit
  await tx
    .updateTable('schedules')
    .set({
      failures,
      ...(isPaused && {
        enabled: false,
        paused_reason: `Paused after ${failures} ${failures === 1 ? 'failure' : 'failures in a row'}. The last one: ${failure}`,
        revision: sql`revision + 1`,
        updated_at: sql`now()`,
      }),
    })
    .where('id', '=', schedule.id)
    .execute()
  if (isPaused)
    await note(tx, {
      caller: SYSTEM,
      action: 'schedules.pause',
      thing: { type: 'schedule', uid: schedule.id, team: schedule.team },
      detail: { failures },
    })
}
