// A team's own model endpoints. A team in every query; keys and headers only as the vault has sealed them.
import { type Selectable, sql } from 'kysely'
import type { ProviderName } from '../../domain/harness.ts'
import type { ModelProviderConfig, ModelProviderItem } from '../../domain/models/provider.ts'
import type { Principal } from '../../domain/permission.ts'
import type { Vault } from '../../domain/vault/vault.ts'
import type { Queryable, Tx } from '../database.ts'
import type { ModelProvidersTable } from '../schema.ts'
import { newUid } from '../uid.ts'

export interface TeamEndpoint {
  uid: string
  name: string
  format: ProviderName
  baseUrl: string
  models: string[]
  apiKey: Buffer | null
  headers: Buffer | null
}

/** With what is sealed, to be opened by {@link openEndpoint} where a call is made. */
export async function teamEndpoints(db: Queryable, team: string): Promise<TeamEndpoint[]> {
  const rows = await db.selectFrom('model_providers').selectAll().where('team', '=', team).orderBy('name').execute()
  return rows.map((row) => ({
    uid: row.uid,
    name: row.name,
    format: row.format,
    baseUrl: row.base_url,
    models: row.models,
    apiKey: row.api_key,
    headers: row.headers,
  }))
}

export function openEndpoint(
  vault: Pick<Vault, 'open'>,
  { uid, apiKey, headers }: TeamEndpoint,
): { apiKey: string | null; headers: Record<string, string> } {
  return {
    apiKey: apiKey && vault.open(apiKey, keyContext(uid)),
    headers: headers === null ? {} : (JSON.parse(vault.open(headers, headersContext(uid))) as Record<string, string>),
  }
}

/** Which formats the team has an endpoint for, whatever their models. */
export async function formatsOfTeam(db: Queryable, team: string): Promise<ProviderName[]> {
  const rows = await db.selectFrom('model_providers').select('format').distinct().where('team', '=', team).execute()
  return rows.map(({ format }) => format)
}

export async function listModelProviders(
  db: Queryable,
  vault: Pick<Vault, 'open'>,
  team: string,
): Promise<ModelProviderItem[]> {
  const rows = await db.selectFrom('model_providers').selectAll().where('team', '=', team).orderBy('name').execute()
  return rows.map((row) => serve(vault, row))
}

/** Null when there is none. */
export async function findModelProvider(
  db: Queryable,
  vault: Pick<Vault, 'open'>,
  team: string,
  uid: string,
): Promise<ModelProviderItem | null> {
  const row = await db
    .selectFrom('model_providers')
    .selectAll()
    .where('team', '=', team)
    .where('uid', '=', uid)
    .executeTakeFirst()
  return row ? serve(vault, row) : null
}

/** Fails with a unique violation where the team has one of that name. */
export async function insertModelProvider(
  tx: Tx,
  vault: Vault,
  { team, by, config }: { team: string; by: Principal; config: ModelProviderConfig },
): Promise<ModelProviderItem> {
  const uid = newUid()
  const row = await tx
    .insertInto('model_providers')
    .values({
      uid,
      team,
      name: config.name,
      format: config.format,
      base_url: config.base_url,
      models: config.models,
      ...sealed(vault, uid, config),
      created_by_type: by.type,
      created_by: by.uid,
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return serve(vault, row)
}

/** What is secret stays as it is where the change does not name it. Null when there is none. */
export async function replaceModelProvider(
  tx: Tx,
  vault: Vault,
  { team, uid }: { team: string; uid: string },
  config: ModelProviderConfig,
): Promise<ModelProviderItem | null> {
  const row = await tx
    .updateTable('model_providers')
    .set({
      name: config.name,
      format: config.format,
      base_url: config.base_url,
      models: config.models,
      ...sealed(vault, uid, config),
      updated_at: sql`now()`,
    })
    .where('team', '=', team)
    .where('uid', '=', uid)
    .returningAll()
    .executeTakeFirst()
  return row ? serve(vault, row) : null
}

/** False when there is none. */
export async function deleteModelProvider(tx: Tx, team: string, uid: string): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('model_providers')
    .where('team', '=', team)
    .where('uid', '=', uid)
    .executeTakeFirst()
  return numDeletedRows > 0n
}

const keyContext = (uid: string) => `model_provider:${uid}:key`
const headersContext = (uid: string) => `model_provider:${uid}:headers`

function sealed(vault: Vault, uid: string, { api_key: key, headers }: ModelProviderConfig) {
  const isEmpty = headers != null && Object.keys(headers).length === 0
  return {
    ...(key !== undefined && { api_key: key === null ? null : vault.seal(key, keyContext(uid)) }),
    ...(headers !== undefined && {
      headers: headers === null || isEmpty ? null : vault.seal(JSON.stringify(headers), headersContext(uid)),
    }),
  }
}

function serve(vault: Pick<Vault, 'open'>, row: Selectable<ModelProvidersTable>): ModelProviderItem {
  const headers = row.headers === null ? {} : (JSON.parse(vault.open(row.headers, headersContext(row.uid))) as object)
  return {
    uid: row.uid,
    name: row.name,
    format: row.format,
    base_url: row.base_url,
    models: row.models,
    has_api_key: row.api_key !== null,
    header_names: Object.keys(headers).sort(),
    created_by: { type: row.created_by_type, uid: row.created_by },
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}
