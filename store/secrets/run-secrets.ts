// Which secrets a run gets, and which it was given.
import { type Selectable, sql } from 'kysely'
import type { RunConfiguration } from '../../domain/configuration/configuration.ts'
import type { Principal } from '../../domain/permission.ts'
import type { AgentConfig, InlineEnvironment } from '../../domain/run.ts'
import { type GivenSecret, type SecretScope, secretScopes, type UsedSecret } from '../../domain/vault/secret.ts'
import type { Vault } from '../../domain/vault/vault.ts'
import { note, SYSTEM } from '../audit.ts'
import type { Queryable, Tx } from '../database.ts'
import type { SecretsTable } from '../schema.ts'
import { secretContext } from './secrets.ts'

/** Whose secrets a run can have. */
export interface SecretHolder {
  team: string
  scope: 'Team' | 'User'
  creator: Principal
  executor: Principal
  environmentId: string | null
  /** Somebody else has chosen the names that it asks for: see {@link areNamedByOthers}. */
  namedByOthers: boolean
}

export type ChosenSecret = Pick<
  Selectable<SecretsTable>,
  'uid' | 'name' | 'scope' | 'kind' | 'path' | 'version' | 'sealed' | 'former_sealed'
>

/**
 * What a run gets of the secrets that are in its scope: all, or those that are
 * named, one for each name. A personal one goes to a team's run only where its
 * owner, who has begun the run, names it.
 */
export async function secretsOf(
  db: Queryable,
  holder: SecretHolder,
  names: readonly string[] | null,
): Promise<ChosenSecret[]> {
  if (names?.length === 0) return []
  const { team, scope, creator, executor, environmentId, namedByOthers } = holder
  const owners: [SecretScope, string][] = [['team', '']]
  const isTheirs = creator.type !== 'service_account' && (scope === 'User' || (names !== null && !namedByOthers))
  if (isTheirs) owners.push(['person', creator.uid])
  if (environmentId !== null) owners.push(['environment', environmentId])
  if (executor.type === 'service_account') owners.push(['agent', executor.uid])
  let query = db
    .selectFrom('secrets')
    .select(['uid', 'name', 'scope', 'kind', 'path', 'version', 'sealed', 'former_sealed'])
    .where('team', '=', team)
    .where((is) => is.or(owners.map(([of, owner]) => is.and({ scope: of, owner }))))
  if (names !== null) query = query.where('name', 'in', names)
  const found = await query.orderBy('name').execute()
  const rank = ({ scope: of }: ChosenSecret) => secretScopes.indexOf(of)
  return found.filter((one) => !found.some((other) => other.name === one.name && rank(other) > rank(one)))
}

/** Those of these names that are secrets of the team: every run of it may have them. */
export async function teamSecretNames(db: Queryable, team: string, names: readonly string[]): Promise<string[]> {
  if (names.length === 0) return []
  const query = db.selectFrom('secrets').select('name').where('team', '=', team).where('scope', '=', 'team')
  return (await query.where('name', 'in', names).execute()).map(({ name }) => name)
}

/** Those of these names that no secret has which the person could know of: one of their own, or one that is nobody's own. */
export async function unknownSecretNames(
  db: Queryable,
  { team, person }: { team: string; person: string },
  names: readonly string[],
): Promise<string[]> {
  if (names.length === 0) return []
  const found = await db
    .selectFrom('secrets')
    .select('name')
    .where('team', '=', team)
    .where('name', 'in', names)
    .where((is) => is.or([is('scope', '!=', 'person'), is('owner', '=', person)]))
    .execute()
  return names.filter((name) => !found.some((secret) => secret.name === name))
}

/** As {@link secretsOf}, for an environment's build: nobody's own, and no agent's. */
export const secretsOfBuild = (db: Queryable, team: string, environmentId: string): Promise<ChosenSecret[]> =>
  secretsOf(
    db,
    {
      team,
      scope: 'Team',
      creator: { type: 'operator', uid: '' },
      executor: { type: 'operator', uid: '' },
      environmentId,
      namedByOthers: false,
    },
    null,
  )

/**
 * Whether the names in `config.secrets`, or the servers in `config.mcp_servers`, are not those of the person whose run it
 * is: what a profile of the team, a service account or a schedule says, others have written, who are not to get at
 * somebody's personal secrets by it. In a profile of one's own an admin may have written as well.
 */
export async function areNamedByOthers(
  db: Queryable,
  creator: Principal,
  configuration: Pick<RunConfiguration, 'sources'> | null,
  field: 'secrets' | 'mcp_servers' = 'secrets',
): Promise<boolean> {
  for (let source = configuration?.sources[field]; ; ) {
    if (source === undefined || source.type === 'request') return false
    const { type, uid, version = 0 } = source
    if (uid === undefined) return true
    if (type === 'profile') {
      const own = db
        .selectFrom('shared_item_versions')
        .innerJoin('shared_items', 'shared_items.uid', 'shared_item_versions.uid')
        .select('shared_items.uid')
        .where('shared_items.uid', '=', uid)
        .where('owner', '=', creator.uid)
        .where('shared_item_versions.version', '=', version)
        .where('shared_item_versions.created_by', '=', creator.uid)
      return (await own.executeTakeFirst()) === undefined
    }
    if (type !== 'parent_run' && type !== 'forked_run') return true
    const from = await db
      .selectFrom('runs')
      .select('configuration')
      .where('id', '=', uid)
      .where('created_by_type', '=', creator.type)
      .where('created_by', '=', creator.uid)
      .executeTakeFirst()
    if (!from) return true
    source = from.configuration?.sources[field]
  }
}

/** @throws {VaultError} where the key is not here. */
export const openSecret = (vault: Vault, { uid, name, version, kind, path, sealed }: ChosenSecret): GivenSecret => ({
  name,
  version,
  kind,
  path,
  value: vault.open(sealed, secretContext(uid)),
})

/** The values before the newest ones: a run that goes on may still have them. */
export const formerValues = (vault: Vault, secrets: readonly ChosenSecret[]): string[] =>
  secrets.flatMap(({ uid, former_sealed: sealed }) => (sealed === null ? [] : [vault.open(sealed, secretContext(uid))]))

/** The run's holder, and what it asks for; null where there is no such run. */
export async function holderOf(
  db: Queryable,
  runId: string,
): Promise<{
  holder: SecretHolder
  config: AgentConfig
  configuration: RunConfiguration | null
  environment: InlineEnvironment
} | null> {
  const row = await db
    .selectFrom('runs')
    .select([
      'team',
      'scope',
      'created_by_type',
      'created_by',
      'executor_type',
      'executor',
      'environment_id',
      'config',
      'configuration',
      'environment',
    ])
    .where('id', '=', runId)
    .executeTakeFirst()
  if (!row) return null
  const creator = { type: row.created_by_type, uid: row.created_by }
  return {
    config: row.config,
    configuration: row.configuration,
    environment: row.environment ?? { repos: [], setup_commands: [], env: {} },
    holder: {
      team: row.team,
      scope: row.scope,
      creator,
      executor: { type: row.executor_type, uid: row.executor },
      environmentId: row.environment_id,
      namedByOthers: await areNamedByOthers(db, creator, row.configuration),
    },
  }
}

/** Notes what an execution was given. The first time, in the audit log as well. */
export async function noteGiven(
  tx: Tx,
  { runId, execution, team }: { runId: string; execution: number; team: string },
  secrets: readonly ChosenSecret[],
): Promise<void> {
  if (secrets.length === 0) return
  const given = await tx
    .insertInto('run_secrets')
    .values(
      secrets.map(({ uid, name, version, scope, kind }) => ({
        run_id: runId,
        execution,
        name,
        version,
        secret: uid,
        scope,
        kind,
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .returning(['name', 'version', 'secret'])
    .execute()
  if (given.length === 0) return
  await tx
    .updateTable('secrets')
    .set({ last_used_at: sql`now()` })
    .where(
      'uid',
      'in',
      given.map(({ secret }) => secret),
    )
    .execute()
  await note(tx, {
    caller: { ...SYSTEM, team },
    action: 'secrets.give',
    thing: { type: 'run', uid: runId, team },
    detail: { execution, names: given.map(({ name, version }) => `${name} v${version}`) },
  })
}

/** What a run was given so far, by name; of each its newest. */
export async function usedSecrets(db: Queryable, runIds: readonly string[]): Promise<Map<string, UsedSecret[]>> {
  const used = new Map<string, UsedSecret[]>()
  if (runIds.length === 0) return used
  const rows = await db
    .selectFrom('run_secrets')
    .select(['run_id', 'name', 'version', 'scope', 'kind', 'execution', 'given_at'])
    .distinctOn(['run_id', 'name'])
    .where('run_id', 'in', runIds)
    .orderBy('run_id')
    .orderBy('name')
    .orderBy('given_at', 'desc')
    .execute()
  for (const { run_id: runId, given_at: givenAt, ...secret } of rows) {
    used.set(runId, [...(used.get(runId) ?? []), { ...secret, given_at: givenAt.toISOString() }])
  }
  return used
}
