// The skills that are known of a team's environments. A team in every query.
import { sql } from 'kysely'
import type { PinnedSkill } from '../../domain/configuration/skill.ts'
import type { Queryable } from '../database.ts'
import type { ReadRepository } from '../schema.ts'

export interface KnownSkill extends Omit<PinnedSkill, 'content'> {
  environmentId: string
  environment: string
  problem: string | null
  content: string | null
  readAt: Date
}

/** By environment and place in it. `repo`: those of this one alone, `owner/repo`. Unset: with those that cannot be used. */
export async function knownSkills(
  db: Queryable,
  team: string,
  { repo = null, withMalformed = true }: { repo?: string | null; withMalformed?: boolean } = {},
): Promise<KnownSkill[]> {
  const { rows } = await sql<KnownSkill>`
    select skills.environment_id as "environmentId", environments.name as environment,
      skills.owner, skills.repo, skills.url, skills.path, skills.revision, skills.name, skills.description,
      skills.problem, skills.content,
      coalesce(
        (
          select max(finished_at) from skill_readings
          where skill_readings.environment_id = environments.id and failure is null
        ),
        environments.created_at
      ) as "readAt"
    from skills
    join environments on environments.id = skills.environment_id
    where environments.team = ${team} and environments.deleted_at is null
      and (${repo}::text is null or lower(skills.owner || '/' || skills.repo) = lower(${repo}))
      and (${withMalformed} or skills.problem is null)
    order by environments.name, environments.id, skills.position, skills.path
  `.execute(db)
  return rows
}

/** Of an environment with repositories, how its newest reading went. */
export interface ReadingStanding {
  environmentId: string
  environment: string
  urls: string[]
  /** Null: none was asked for yet. */
  reading: { isOver: boolean; failure: string | null; repositories: ReadRepository[] | null } | null
  /** Once at the least. */
  wasRead: boolean
}

export async function readingStandings(db: Queryable, team: string): Promise<ReadingStanding[]> {
  const { rows } = await sql<ReadingStanding>`
    select environments.id as "environmentId", environments.name as environment,
      array(select jsonb_array_elements(environments.config -> 'repos') ->> 'url') as urls,
      case when last.id is not null then jsonb_build_object(
        'isOver', last.finished_at is not null, 'failure', last.failure, 'repositories', last.repositories
      ) end as reading,
      exists (
        select from skill_readings where environment_id = environments.id and finished_at is not null and failure is null
      ) as "wasRead"
    from environments
    left join lateral (
      select * from skill_readings where environment_id = environments.id order by created_at desc limit 1
    ) as last on true
    where environments.team = ${team} and environments.deleted_at is null
      and jsonb_array_length(coalesce(environments.config -> 'repos', '[]'::jsonb)) > 0
    order by environments.name, environments.id
  `.execute(db)
  return rows
}

/** When runs of the team used each skill last, by `owner/repo:path`. */
export async function lastRuns(db: Queryable, team: string): Promise<Map<string, Date>> {
  const { rows } = await sql<{ spec: string; at: Date }>`
    select lower(run_skills.owner || '/' || run_skills.repo) || ':' || run_skills.path as spec, max(runs.created_at) as at
    from run_skills
    join runs on runs.id = run_skills.run_id
    -- A personal run is nobody else's to see.
    where run_skills.team = ${team} and runs.scope = 'Team'
    group by 1
  `.execute(db)
  return new Map(rows.map(({ spec, at }) => [spec, at]))
}

/** They will be there when the transaction that asks ends: nobody drops what they say meanwhile. */
export async function holdContents(db: Queryable, hashes: readonly string[]): Promise<string[]> {
  if (hashes.length === 0) return []
  const rows = await db
    .selectFrom('skill_contents')
    .select('hash')
    .where('hash', 'in', hashes)
    .orderBy('hash')
    .forKeyShare()
    .execute()
  return rows.map(({ hash }) => hash)
}
