// When hosts look at the repositories of environments for skills, and what they have found there.
import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import type { SkillFile } from '../../domain/configuration/skill.ts'
import type { Repository } from '../../domain/run.ts'
import { buildingHosts } from '../builds/builds.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { jsonb, storableText } from '../json.ts'
import { EVENTS_CHANNEL } from '../listener.ts'
import type { ReadRepository } from '../schema.ts'
import { dropUnused, keepContent } from './contents.ts'

/** A reading that failed, or of which nothing is heard, is not asked for again before. In minutes. */
const FAILED_MINUTES = 10
/** Its host has lost it, or Temporal has. Longer than its workflow may take. In minutes. */
const LOST_MINUTES = 30

/**
 * Asks for readings of the environments that are due: never read, changed or
 * built since, or read longer ago than `ageMinutes`. One that no connected host
 * could read is left for later.
 */
export async function askForDueReadings(
  db: Db,
  { pool, ageMinutes }: { pool: string; ageMinutes: number },
): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select environments.id
    from environments
    left join lateral (
      select created_at, finished_at, failure is not null
        or jsonb_path_exists(repositories, '$[*].failure ? (@ != null)') as has_failed
      from skill_readings
      where environment_id = environments.id order by created_at desc limit 1
    ) as last on true
    where environments.deleted_at is null
      and jsonb_array_length(coalesce(environments.config -> 'repos', '[]'::jsonb)) > 0
      and (last.created_at is null or last.finished_at is not null)
      and (
        last.created_at is null
        or environments.updated_at > last.created_at
        or last.finished_at < now() - make_interval(mins => case
          when not last.has_failed then ${ageMinutes}::integer else least(${FAILED_MINUTES}::integer, ${ageMinutes}::integer)
        end)
        or exists (
          select from builds
          where builds.environment_id = environments.id and builds.state = 'READY' and builds.finished_at > last.created_at
        )
      )
    -- Those that no host can read now are not to keep the others back.
    order by random()
    limit 100
  `.execute(db)
  for (const { id } of rows) await db.transaction().execute((tx) => askForReading(tx, id, pool))
}

/** @returns the reading that goes on, or is to; null where no connected host could read it. */
export async function askForReading(tx: Tx, environmentId: string, pool: string): Promise<string | null> {
  const [hostId] = await buildingHosts(tx, environmentId, pool)
  if (hostId === undefined) return null
  const id = randomUUID()
  const made = await tx
    .insertInto('skill_readings')
    .values({ id, environment_id: environmentId, host_id: hostId })
    .onConflict((conflict) => conflict.column('environment_id').where('finished_at', 'is', null).doNothing())
    .executeTakeFirst()
  if (made.numInsertedOrUpdatedRows !== 0n) return id
  const goingOn = await tx
    .selectFrom('skill_readings')
    .select('id')
    .where('environment_id', '=', environmentId)
    .where('finished_at', 'is', null)
    .executeTakeFirst()
  return goingOn?.id ?? null
}

/** The environments of a team that have repositories. */
export async function environmentsToRead(db: Queryable, team: string): Promise<{ id: string; repos: Repository[] }[]> {
  const rows = await db
    .selectFrom('environments')
    .select(['id', 'config'])
    .where('team', '=', team)
    .where('deleted_at', 'is', null)
    .execute()
  return rows.flatMap(({ id, config }) => (config.repos.length > 0 ? [{ id, repos: config.repos }] : []))
}

export async function unfinishedOf(db: Queryable, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return []
  const rows = await db
    .selectFrom('skill_readings')
    .select('id')
    .where('id', 'in', ids)
    .where('finished_at', 'is', null)
    .execute()
  return rows.map(({ id }) => id)
}

/** Those whose workflow is still to be started. */
export async function undeliveredReadings(db: Queryable, limit: number): Promise<{ id: string; hostId: string }[]> {
  return await db
    .selectFrom('skill_readings')
    .select(['id', 'host_id as hostId'])
    .where('finished_at', 'is', null)
    .where('dispatched_at', 'is', null)
    .orderBy('created_at')
    .limit(limit)
    .execute()
}

export async function markReadingDispatched(db: Queryable, id: string): Promise<void> {
  await db.updateTable('skill_readings').set({ dispatched_at: sql`now()` }).where('id', '=', id).execute()
}

/** Ends those whose workflow must be gone, and forgets old ones, and what was known of environments that are gone. */
export async function tidyReadings(db: Db): Promise<void> {
  const lost = await db
    .selectFrom('skill_readings')
    .select('id')
    .where('finished_at', 'is', null)
    .where('dispatched_at', '<', sql<Date>`now() - make_interval(mins => ${LOST_MINUTES}::integer)`)
    .execute()
  for (const { id } of lost) await recordReadingFailure(db, id, 'The host that was to read them has not answered.')
  await sql`
    delete from skill_readings
    using (
      select id, row_number() over (partition by environment_id order by created_at desc) as number from skill_readings
    ) as ranked
    where ranked.id = skill_readings.id and ranked.number > 5 and finished_at is not null
  `.execute(db)
  await db.transaction().execute(async (tx) => {
    const gone = await tx
      .deleteFrom('skills')
      .where('environment_id', 'in', (of) =>
        of.selectFrom('environments').select('id').where('deleted_at', 'is not', null),
      )
      .returning('content')
      .execute()
    await dropUnused(tx, contentsIn(gone))
  })
}

export interface Reading {
  hostId: string
  environmentId: string
  team: string
  repositories: Repository[]
  /** The environment was changed since it was asked for: what is read may be of other repositories. */
  isOutdated: boolean
}

/** What a host needs to read. Null when there is no such reading, or it is over. */
export async function findReading(db: Queryable, id: string): Promise<Reading | null> {
  const row = await db
    .selectFrom('skill_readings')
    .innerJoin('environments', 'environments.id', 'skill_readings.environment_id')
    .select(['skill_readings.host_id as hostId', 'environment_id as environmentId', 'environments.team', 'config'])
    .select(sql<boolean>`environments.updated_at > skill_readings.created_at`.as('isOutdated'))
    .where('skill_readings.id', '=', id)
    .where('finished_at', 'is', null)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  if (!row) return null
  const { config, ...reading } = row
  return { ...reading, repositories: config.repos }
}

/** A skill as it was found, read or not. */
export interface FoundSkill {
  path: string
  name: string
  description: string
  problem: string | null
  text: string
  files: readonly SkillFile[]
}

export interface RepositoryReading extends ReadRepository {
  skills: readonly FoundSkill[]
}

/** What was found takes the place of what was known. Of a repository that could not be read, that stays. Idempotent. */
export async function recordReading(db: Db, id: string, repositories: readonly RepositoryReading[]): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const reading = await finish(tx, id, {
      failure: null,
      repositories: repositories.map(({ skills: _, ...repository }) => repository),
    })
    if (reading === null) return
    const former = await tx
      .selectFrom('skills')
      .selectAll()
      .where('environment_id', '=', reading)
      .orderBy('position')
      .execute()
    await tx.deleteFrom('skills').where('environment_id', '=', reading).execute()
    for (const [position, { url, owner, repo, revision, failure, skills }] of repositories.entries()) {
      if (failure !== null) {
        const kept = former.filter((skill) => skill.url === url)
        const [first] = kept
        // The same repository may be there twice, at two of its branches.
        const same = kept.some((skill) => skill.position === position) ? position : first?.position
        const rows = kept.filter((skill) => skill.position === same).map((skill) => ({ ...skill, position }))
        if (rows.length > 0) await tx.insertInto('skills').values(rows).execute()
        continue
      }
      for (const { path, name, description, problem, text, files } of skills) {
        const content = problem === null ? await keepContent(tx, { text: storableText(text), files }) : null
        const row = { owner, repo, url, path: storableText(path), name: storableText(name) }
        await tx
          .insertInto('skills')
          .values({
            ...row,
            environment_id: reading,
            position,
            revision: revision ?? '',
            description: storableText(description),
            problem,
            content,
          })
          .execute()
      }
    }
    await dropUnused(tx, contentsIn(former))
  })
}

const contentsIn = (skills: readonly { content: string | null }[]): string[] => [
  ...new Set(skills.flatMap(({ content }) => (content === null ? [] : [content]))),
]

/** Nothing was read: what is known stays. Idempotent. */
export async function recordReadingFailure(db: Db, id: string, failure: string): Promise<void> {
  await db.transaction().execute((tx) => finish(tx, id, { failure: storableText(failure), repositories: null }))
}

/** @returns the environment; null where the reading is over already. */
async function finish(
  tx: Tx,
  id: string,
  { failure, repositories }: { failure: string | null; repositories: ReadRepository[] | null },
): Promise<string | null> {
  const row = await tx
    .updateTable('skill_readings')
    .set({
      finished_at: sql`now()`,
      failure,
      repositories: repositories === null ? null : jsonb(repositories),
    })
    .where('id', '=', id)
    .where('finished_at', 'is', null)
    .returning('environment_id')
    .executeTakeFirst()
  if (!row) return null
  await sql`select pg_notify(${EVENTS_CHANNEL}, ${id})`.execute(tx)
  return row.environment_id
}
