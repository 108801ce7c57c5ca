// The skills that runs work by, each pinned to what it said when its run began.
import { type RawBuilder, type SqlBool, sql } from 'kysely'
import { type PinnedSkill, parseSkillName, type RunSkill, servedSkill } from '../../domain/configuration/skill.ts'
import type { Queryable, Tx } from '../database.ts'

const columns = ['name', 'description', 'owner', 'repo', 'url', 'path', 'revision', 'content'] as const

export async function insertRunSkills(
  tx: Tx,
  { runId, team }: { runId: string; team: string },
  skills: readonly PinnedSkill[],
): Promise<void> {
  if (skills.length === 0) return
  const rows = skills.map((skill, position) => ({ ...skill, run_id: runId, team, position }))
  await tx.insertInto('run_skills').values(rows).execute()
}

/** In their order; the first one is the run's own. */
export async function skillsOfRun(db: Queryable, runId: string): Promise<PinnedSkill[]> {
  return await db.selectFrom('run_skills').select(columns).where('run_id', '=', runId).orderBy('position').execute()
}

/** As a column of a query on `runs`: the same, or null where it has none. */
export const skillsColumn = sql<PinnedSkill[] | null>`(
  select json_agg(
    json_build_object(
      'name', name, 'description', description, 'owner', owner, 'repo', repo, 'url', url, 'path', path,
      'revision', revision, 'content', content
    ) order by position
  )
  from run_skills where run_skills.run_id = runs.id
)`

/** As they are served, by the runs' ids. */
export async function servedSkills(db: Queryable, ids: readonly string[]): Promise<Map<string, RunSkill[]>> {
  const served = new Map<string, RunSkill[]>()
  if (ids.length === 0) return served
  const rows = await db
    .selectFrom('run_skills')
    .select(['run_id', ...columns])
    .where('run_id', 'in', ids)
    .orderBy('position')
    .execute()
  for (const { run_id: id, ...skill } of rows) served.set(id, [...(served.get(id) ?? []), servedSkill(skill)])
  return served
}

/** Runs that work by the skill of this name; of several skills of one name, by any. */
export function worksBy(team: string | null, given: string): RawBuilder<SqlBool> {
  const { owner, repo, rest } = parseSkillName(given)
  const folder = rest.replace(/\/+$/, '')
  const place = [
    ...(team === null ? [] : [sql<SqlBool>`run_skills.team = ${team}`]),
    ...(owner === null ? [] : [sql<SqlBool>`lower(run_skills.owner) = ${owner.toLowerCase()}`]),
    ...(repo === null ? [] : [sql<SqlBool>`lower(run_skills.repo) = ${repo.toLowerCase()}`]),
    sql<SqlBool>`(
      lower(run_skills.name) = ${rest.toLowerCase()} or run_skills.path = any(${[rest, `${folder}/SKILL.md`]}::text[])
    )`,
  ]
  return sql<SqlBool>`runs.id = any(array(
    select run_skills.run_id from run_skills where ${sql.join(place, sql` and `)}
  ))`
}
