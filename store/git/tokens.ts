// By what the git broker is reached: from the sandboxes of a run, and by hosts for what they have in hand. Only hashes are kept.
import { randomBytes } from 'node:crypto'
import { type SqlBool, sql } from 'kysely'
import { runBranch } from '../../domain/git/branch.ts'
import type { CredentialBinding } from '../../domain/host-api.ts'
import type { CallerType } from '../../domain/permission.ts'
import type { Repository } from '../../domain/run.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { lockRun, refuseOlder } from '../locking.ts'
import { hashOfSecret } from '../secret-hash.ts'

/** What a host does with one is done by then; it asks for another one. In hours. */
export const HOST_TOKEN_HOURS = 2

/**
 * A token of an execution: for its sandbox, until that is gone, or for its host.
 * Those that it was given before stay good.
 * @throws {FencedError} when a newer execution has begun.
 */
export async function issueRunGitToken(
  db: Db,
  { runId, execution }: ExecutionRef,
  { forHost, binding }: { forHost: boolean; binding: CredentialBinding | null },
): Promise<string> {
  return await db.transaction().execute(async (tx) => {
    refuseOlder(await lockRun(tx, runId), execution)
    return await insertToken(tx, { run_id: runId, execution, for_host: forHost, binding })
  })
}

/** For the host that builds, or looks for what is new. Nothing can be pushed with it. */
export const issueHostGitToken = (db: Db, of: { buildId: string } | { environmentId: string }): Promise<string> =>
  db.transaction().execute((tx) =>
    insertToken(tx, {
      ...('buildId' in of ? { build_id: of.buildId } : { environment_id: of.environmentId }),
      for_host: true,
    }),
  )

async function insertToken(
  tx: Tx,
  {
    binding = null,
    ...of
  }: {
    run_id?: string
    execution?: number
    build_id?: string
    environment_id?: string
    for_host: boolean
    binding?: CredentialBinding | null
  },
): Promise<string> {
  const token = `amg_${randomBytes(32).toString('base64url')}`
  await tx.deleteFrom('git_tokens').where('expires_at', '<', sql<Date>`now()`).execute()
  await tx
    .insertInto('git_tokens')
    .values({
      ...of,
      token_hash: hashOfSecret(token),
      binding: binding === null ? null : jsonb(binding),
      expires_at: of.for_host ? sql`now() + make_interval(hours => ${HOST_TOKEN_HOURS}::integer)` : null,
    })
    .execute()
  return token
}

/** Binds a token to the address that uses it first. @returns the one that it is bound to; empty: to none. */
export async function claimGitToken(db: Queryable, tokenHash: string, address: string): Promise<string> {
  const bound = jsonb<CredentialBinding>({ kind: 'address', address })
  await db
    .updateTable('git_tokens')
    .set({ binding: bound })
    .where('token_hash', '=', tokenHash)
    .where(sql<SqlBool>`binding ->> 'kind' = 'first'`)
    .execute()
  const row = await db.selectFrom('git_tokens').select('binding').where('token_hash', '=', tokenHash).executeTakeFirst()
  return row?.binding?.kind === 'address' ? row.binding.address : ''
}

/** Whose credentials count for a run: its team's, and those of the person who has begun it. */
export async function ownerOfRun(
  db: Queryable,
  runId: string,
): Promise<{ team: string; person: string | null } | null> {
  const row = await db
    .selectFrom('runs')
    .select(['team', 'created_by_type', 'created_by'])
    .where('id', '=', runId)
    .executeTakeFirst()
  return row ? { team: row.team, person: personOf(row.created_by_type, row.created_by) } : null
}

const personOf = (type: CallerType | null, uid: string | null) => (type === 'user' ? uid : null)

export async function environmentRepositories(
  db: Queryable,
  id: string,
): Promise<{ team: string; repositories: Repository[] } | null> {
  const row = await db
    .selectFrom('environments')
    .select(['team', 'config'])
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return row ? { team: row.team, repositories: row.config.repos } : null
}

/** Whose repositories a token opens. */
export interface GitGrant {
  /** What it is for, for logs. */
  of: { run: string; execution: number } | { build: string } | { environment: string }
  tokenHash: string
  /** It was given to the host, and not into a sandbox. */
  forHost: boolean
  /** From where it is good; null: from anywhere. */
  binding: CredentialBinding | null
  team: string
  /** Whose own credentials count as well. */
  person: string | null
  repositories: readonly Repository[]
  /** The run's own branch, which may always be pushed to; null: nothing is pushed. */
  ownBranch: string | null
}

/** What a token is good for; null when it is nobody's, or no longer. */
export async function findGitGrant(db: Queryable, token: string): Promise<GitGrant | null> {
  const row = await db
    .selectFrom('git_tokens')
    .leftJoin('runs', 'runs.id', 'git_tokens.run_id')
    .leftJoin('builds', 'builds.id', 'git_tokens.build_id')
    .leftJoin('environments', (join) =>
      join.on((eb) =>
        eb.or([
          eb('environments.id', '=', eb.ref('git_tokens.environment_id')),
          eb('environments.id', '=', eb.ref('builds.environment_id')),
        ]),
      ),
    )
    .select([
      ...(['git_tokens.run_id', 'git_tokens.execution', 'git_tokens.build_id', 'git_tokens.for_host'] as const),
      ...(['git_tokens.token_hash', 'git_tokens.binding'] as const),
      ...(['runs.team as run_team', 'runs.environment', 'runs.created_by_type', 'runs.created_by'] as const),
      ...(['builds.config as build_config', 'builds.finished_at'] as const),
      ...(['environments.id as environment_id', 'environments.team', 'environments.config'] as const),
    ])
    .where('token_hash', '=', hashOfSecret(token))
    .where((eb) => eb.or([eb('git_tokens.expires_at', 'is', null), eb('git_tokens.expires_at', '>', sql<Date>`now()`)]))
    .executeTakeFirst()
  if (!row) return null
  const common = { tokenHash: row.token_hash, forHost: row.for_host, binding: row.binding }
  if (row.run_id !== null && row.run_team !== null) {
    return {
      of: { run: row.run_id, execution: row.execution ?? 0 },
      ...common,
      team: row.run_team,
      person: personOf(row.created_by_type, row.created_by),
      repositories: row.environment?.repos ?? [],
      ownBranch: runBranch(row.run_id),
    }
  }
  if (row.environment_id === null || row.team === null) return null
  if (row.build_id !== null) {
    // Its secrets went with its end.
    if (row.build_config === null || row.finished_at !== null) return null
    const repositories = row.build_config.repos
    return { of: { build: row.build_id }, ...common, team: row.team, person: null, repositories, ownBranch: null }
  }
  const repositories = row.config?.repos ?? []
  const of = { environment: row.environment_id }
  return { of, ...common, team: row.team, person: null, repositories, ownBranch: null }
}
