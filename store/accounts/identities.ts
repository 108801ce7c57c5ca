// Service accounts of teams. A team in every query.
import { type Selectable, sql } from 'kysely'
import { asServed } from '../../domain/harness.ts'
import type { IdentityConfig, IdentityItem } from '../../domain/identity.ts'
import { managedServer, withServers } from '../../domain/mcp/values.ts'
import type { Principal } from '../../domain/permission.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import type { IdentitiesTable } from '../schema.ts'
import { deleteSecretsOf } from '../secrets/secrets.ts'
import { isTaken } from '../taken.ts'
import { newUid } from '../uid.ts'
import { revokeKeysOf } from './api-keys.ts'

/** Another service account of the team has this name. */
export class IdentityNameTakenError extends Error {
  override readonly name = 'IdentityNameTakenError'
  constructor(taken: string) {
    super(`There is a service account "${taken}" already.`)
  }
}

/** What is kept of one and may change. */
export interface StoredIdentity {
  name: string
  config: IdentityConfig
  onBehalfOf: boolean
}

/** One as runs begin with it. */
export type RunIdentity = StoredIdentity & { uid: string; isDefault: boolean }

/** @throws {IdentityNameTakenError} */
export async function insertIdentity(
  tx: Tx,
  team: string,
  stored: StoredIdentity,
  by: Principal,
): Promise<IdentityItem> {
  const row = await named(stored.name, () =>
    tx
      .insertInto('identities')
      .values({
        uid: newUid(),
        team,
        name: stored.name,
        config: jsonb(stored.config),
        on_behalf_of_enabled: stored.onBehalfOf,
        created_by_type: by.type,
        created_by: by.uid,
      })
      .returning(served)
      .executeTakeFirstOrThrow(),
  )
  return serve(row)
}

/** Puts what `change` makes of it in its place. Null when there is none. @throws {IdentityNameTakenError} */
export async function changeIdentity(
  tx: Tx,
  team: string,
  uid: string,
  change: (stored: StoredIdentity) => StoredIdentity,
): Promise<IdentityItem | null> {
  const former = await select(tx, team).where('uid', '=', uid).forNoKeyUpdate().executeTakeFirst()
  if (!former) return null
  const stored = change({ name: former.name, config: former.config, onBehalfOf: former.on_behalf_of_enabled })
  const row = await named(stored.name, () =>
    tx
      .updateTable('identities')
      .set({
        name: stored.name,
        config: jsonb(stored.config),
        on_behalf_of_enabled: stored.onBehalfOf,
        updated_at: sql`now()`,
      })
      .where('uid', '=', uid)
      .returning(served)
      .executeTakeFirstOrThrow(),
  )
  return serve(row)
}

/** Its keys and secrets end with it. Runs that it carried out go on, and name it. */
export async function deleteIdentity(tx: Tx, team: string, uid: string): Promise<'deleted' | 'default' | 'unknown'> {
  const row = await select(tx, team).where('uid', '=', uid).forNoKeyUpdate().executeTakeFirst()
  if (!row) return 'unknown'
  if (row.is_default) return 'default'
  await tx.updateTable('identities').set({ deleted_at: sql`now()` }).where('uid', '=', uid).execute()
  await revokeKeysOf(tx, { agent: uid })
  await deleteSecretsOf(tx, 'agent', uid)
  return 'deleted'
}

/** Null when there is none. */
export async function findIdentity(db: Queryable, team: string, uid: string): Promise<IdentityItem | null> {
  const row = await select(db, team).where('uid', '=', uid).executeTakeFirst()
  return row ? serve(row) : null
}

/** As it is kept: with what is never shown. Absent uid: the one that every team has. Null when there is none. */
export async function identityForRun(db: Queryable, team: string, uid: string | null): Promise<RunIdentity | null> {
  const all = select(db, team)
  const row = await (uid === null ? all.where('is_default', '=', true) : all.where('uid', '=', uid)).executeTakeFirst()
  if (!row) return null
  const { name, config, on_behalf_of_enabled: onBehalfOf, is_default: isDefault } = row
  return { uid: row.uid, name, config, onBehalfOf, isDefault }
}

/** The names of the team's service accounts whose runs have this profile. */
export async function identitiesWithProfile(db: Queryable, team: string, profile: string): Promise<string[]> {
  const rows = await select(db, team).where(sql`config ->> 'profile_uid'`, '=', profile).orderBy('name').execute()
  return rows.map(({ name }) => name)
}

/** The one that every team has first, then by name. */
export async function listIdentities(db: Queryable, team: string, factory: string | null): Promise<IdentityItem[]> {
  let all = select(db, team)
  if (factory !== null) all = all.where(sql`config ->> 'factory_uid'`, '=', factory)
  const rows = await all.orderBy('is_default', 'desc').orderBy('name').orderBy('uid').execute()
  return rows.map(serve)
}

const served = [
  'uid',
  'team',
  'name',
  'config',
  'on_behalf_of_enabled',
  'is_default',
  'created_at',
  'updated_at',
] as const

const select = (db: Queryable, team: string) =>
  db.selectFrom('identities').select(served).where('team', '=', team).where('deleted_at', 'is', null)

async function named<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isTaken(error)) throw new IdentityNameTakenError(name)
    throw error
  }
}

function serve(row: Pick<Selectable<IdentitiesTable>, (typeof served)[number]>): IdentityItem {
  const { config } = row
  return {
    uid: row.uid,
    name: row.name,
    available: true,
    is_default: row.is_default,
    description: config.description ?? null,
    prompt: config.prompt ?? null,
    environment_id: config.environment_id ?? null,
    base_model: config.base_model ?? null,
    base_harness: config.harness ? asServed(config.harness).type : null,
    harness: config.harness ? asServed(config.harness) : null,
    harness_auth_secrets: config.harness_auth_secrets ?? null,
    inference_providers: config.inference_providers ?? null,
    mcp_servers: withServers(config.mcp_servers ?? {}, managedServer),
    secrets: config.secrets ?? [],
    skills: config.skills ?? [],
    memory: {
      auto_memory: { enabled: config.auto_memory ?? false },
      attached_stores: config.memory_stores ?? [],
    },
    worker_host: config.worker_host ?? null,
    profile_uid: config.profile_uid ?? null,
    credential_strategy: config.credential_strategy ?? null,
    agent_type: config.agent_type ?? 'CUSTOM',
    // Never null: clients of the Oz API refuse it.
    default_runner_uid: config.default_runner_uid ?? '',
    factory_uid: config.factory_uid ?? null,
    on_behalf_of_enabled: row.on_behalf_of_enabled,
    team: row.team,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}
