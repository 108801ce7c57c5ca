// Stored environments: what runs of a team may name. A team in every query.
import { type Selectable, sql } from 'kysely'
import type { EnvironmentConfig, EnvironmentItem, EnvironmentSummary } from '../../domain/environment.ts'
import { OPERATOR, type Principal } from '../../domain/permission.ts'
import { withoutSecrets } from '../../domain/run.ts'
import { profileIn, profilesOf } from '../accounts/principals.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { lockLine } from '../locking.ts'
import { moveLine } from '../queue/admission.ts'
import type { EnvironmentsTable } from '../schema.ts'
import { deleteSecretsOf } from '../secrets/secrets.ts'
import { isTaken } from '../taken.ts'
import { newUid } from '../uid.ts'
import { newestBuilds } from './build-list.ts'
import { heedChange } from './builds.ts'

/** Another environment of the team has this name. */
export class NameTakenError extends Error {
  override readonly name = 'NameTakenError'
  constructor(taken: string) {
    super(`There is an environment "${taken}" already.`)
  }
}

const columns = [
  ...(['id', 'team', 'name', 'config', 'created_at', 'updated_at'] as const),
  ...(['created_by_type', 'created_by', 'updated_by_type', 'updated_by'] as const),
] as const

type EnvironmentRow = Pick<Selectable<EnvironmentsTable>, (typeof columns)[number]>

/** How lists may be sorted: by name, or the one that changed last first. */
export const environmentOrders = ['name', 'last_updated'] as const
export type EnvironmentOrder = (typeof environmentOrders)[number]

/** Writes an environment and has it built. `pool`: the one whose hosts build it ahead. @throws {NameTakenError} */
export async function insertEnvironment(
  tx: Tx,
  team: string,
  config: EnvironmentConfig,
  pool: string,
  by: Principal = OPERATOR,
): Promise<EnvironmentItem> {
  const row = await named(config.name, () =>
    tx
      .insertInto('environments')
      .values({
        id: newUid(),
        team,
        name: config.name,
        config: jsonb(config),
        created_by_type: by.type,
        created_by: by.uid,
        updated_by_type: by.type,
        updated_by: by.uid,
      })
      .returning(columns)
      .executeTakeFirstOrThrow(),
  )
  await heedChange(tx, { id: row.id, before: null, after: config, pool })
  return serveOne(tx, row)
}

/**
 * Puts what `change` makes of it in its place, which is built. Null when there
 * is no such environment. @throws {NameTakenError}
 */
export async function replaceEnvironment(
  tx: Tx,
  { team, id, pool, by = OPERATOR }: { team: string; id: string; pool: string; by?: Principal },
  change: (stored: EnvironmentConfig) => EnvironmentConfig,
): Promise<EnvironmentItem | null> {
  const stored = await select(tx, team).where('id', '=', id).forNoKeyUpdate().executeTakeFirst()
  if (!stored) return null
  const config = change(stored.config)
  const row = await named(config.name, () =>
    tx
      .updateTable('environments')
      .set({
        name: config.name,
        config: jsonb(config),
        updated_at: sql`now()`,
        updated_by_type: by.type,
        updated_by: by.uid,
      })
      .where('id', '=', id)
      .returning(columns)
      .executeTakeFirstOrThrow(),
  )
  await heedChange(tx, { id, before: stored.config, after: config, pool })
  const item = await serveOne(tx, row)
  if (stored.config.run_limit !== config.run_limit) await letIn(tx)
  return item
}

/** False when there is none. Runs that named it keep their copies; its secrets go with it. */
export async function deleteEnvironment(tx: Tx, team: string, id: string): Promise<boolean> {
  const stored = await select(tx, team).where('id', '=', id).forNoKeyUpdate().executeTakeFirst()
  if (!stored) return false
  await tx
    .updateTable('environments')
    .set({ deleted_at: sql`now()`, config: jsonb(withoutSecrets(stored.config)) })
    .where('id', '=', id)
    .execute()
  await deleteSecretsOf(tx, 'environment', id)
  await heedChange(tx, { id, before: stored.config, after: null, pool: null })
  await letIn(tx)
  return true
}

/** With its secrets, for a run's copy. Null when there is none. */
export async function environmentConfig(db: Queryable, team: string, id: string): Promise<EnvironmentConfig | null> {
  return (await select(db, team).where('id', '=', id).executeTakeFirst())?.config ?? null
}

/** Of these, those that the team does not have. */
export async function unknownEnvironments(db: Queryable, team: string, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return []
  const known = await select(db, team).where('id', 'in', ids).execute()
  return ids.filter((id) => !known.some((environment) => environment.id === id))
}

/** Null when there is none. */
export async function findEnvironment(db: Queryable, team: string, id: string): Promise<EnvironmentItem | null> {
  const row = await select(db, team).where('id', '=', id).executeTakeFirst()
  return row ? serveOne(db, row) : null
}

export async function listEnvironments(
  db: Queryable,
  team: string,
  order: EnvironmentOrder,
): Promise<EnvironmentItem[]> {
  const all = select(db, team)
  const rows = await (order === 'name' ? all.orderBy('name') : all.orderBy('updated_at', 'desc'))
    .orderBy('id')
    .execute()
  return serve(db, rows)
}

const select = (db: Queryable, team: string) =>
  db.selectFrom('environments').select(columns).where('team', '=', team).where('deleted_at', 'is', null)

/** Who waited for the environment's limit may have room now. Last in its transaction: the line is locked until its end. */
async function letIn(tx: Tx): Promise<void> {
  await lockLine(tx)
  await moveLine(tx)
}

async function named<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isTaken(error)) throw new NameTakenError(name)
    throw error
  }
}

async function serveOne(db: Queryable, row: EnvironmentRow): Promise<EnvironmentItem> {
  const [item] = await serve(db, [row])
  if (!item) throw new TypeError('every row is served')
  return item
}

async function serve(db: Queryable, rows: readonly EnvironmentRow[]): Promise<EnvironmentItem[]> {
  const ids = rows.map(({ id }) => id)
  const [builds, runs, profiles] = await Promise.all([
    newestBuilds(db, ids),
    runsOf(db, ids),
    profilesOf(db, [...rows.map(makerOf), ...rows.map(editorOf)]),
  ])
  return rows.map((row) => {
    const { id, team, name, config, created_at, updated_at } = row
    const of = runs.get(id)
    return {
      uid: id,
      config: { ...withoutSecrets(config), name, ...asOz(config) },
      created_at: created_at.toISOString(),
      last_updated: updated_at.toISOString(),
      setup_failed: builds.some((build) => build.environment_id === id && build.lastFailed),
      ...(of?.last_started && { last_task_run_timestamp: of.last_started.toISOString() }),
      ...(of?.last_task && { last_task_created: of.last_task }),
      team,
      scope: { type: 'Team', uid: team },
      creator: profileIn(profiles, makerOf(row)),
      last_editor: profileIn(profiles, editorOf(row)),
      runs_at_work: of?.at_work ?? 0,
      builds: builds.filter((build) => build.environment_id === id).map(({ lastFailed: _, ...build }) => build),
    }
  })
}

const makerOf = ({ created_by_type: type, created_by: uid }: EnvironmentRow): Principal => ({ type, uid })
const editorOf = ({ updated_by_type: type, updated_by: uid }: EnvironmentRow): Principal => ({ type, uid })

/** An environment in the words of Oz, beside those that are the same here. */
const asOz = (config: EnvironmentConfig) => ({
  description: config.description ?? '',
  docker_image: config.image ?? '',
  github_repos: config.repos.flatMap(({ url }) => onGithub(url)),
})

/** As the things of a team show the environment that they name. Those that are not there (any more) are not in it. */
export async function environmentSummaries(
  db: Queryable,
  team: string,
  ids: readonly string[],
): Promise<Map<string, EnvironmentSummary>> {
  if (ids.length === 0) return new Map()
  const rows = await select(db, team).where('id', 'in', ids).execute()
  return new Map(
    rows.map(({ id, name, config }) => [id, { name, ...asOz(config), setup_commands: config.setup_commands }]),
  )
}

function onGithub(url: string): { owner: string; repo: string }[] {
  const [, owner, repo] = /^(?:\w+:\/\/)?(?:[^/@]*@)?github\.com[:/]([^/]+)\/([^/]+?)(?:\.git)?\/?$/i.exec(url) ?? []
  return owner === undefined || repo === undefined ? [] : [{ owner, repo }]
}

interface RunsOf {
  id: string
  last_task: NonNullable<EnvironmentItem['last_task_created']> | null
  last_started: Date | null
  at_work: number
}

async function runsOf(db: Queryable, ids: readonly string[]): Promise<Map<string, RunsOf>> {
  const { rows } = await sql<{
    id: string
    run_id: string | null
    title: string
    state: NonNullable<RunsOf['last_task']>['state']
    created_at: Date
    updated_at: Date
    started_at: Date | null
    last_started: Date | null
    at_work: number
  }>`
    select here.id, last.id as run_id, last.title, last.state, last.created_at, last.updated_at, last.started_at,
      (
        select started_at from runs
        where environment_id = here.id and started_at is not null and scope = 'Team'
        order by created_at desc limit 1
      ) as last_started,
      (select count(*) from places where environment_id = here.id and stage = 'working') as at_work
    from unnest(${ids}::text[]) as here (id)
    left join lateral (
      select runs.id, title, state, created_at, updated_at, started_at from runs
      -- A personal run is nobody else's to see.
      where environment_id = here.id and scope = 'Team' order by created_at desc limit 1
    ) as last on true
  `.execute(db)
  return new Map(
    rows.map(({ id, run_id, title, state, created_at, updated_at, started_at, last_started, at_work }) => [
      id,
      {
        id,
        last_started,
        at_work,
        last_task:
          run_id === null
            ? null
            : {
                id: run_id,
                title,
                state,
                created_at: created_at.toISOString(),
                updated_at: updated_at.toISOString(),
                ...(started_at && { started_at: started_at.toISOString() }),
              },
      },
    ]),
  )
}
