// What the git broker gets at repositories with. A team in every query; secrets as the vault has sealed them.
import { type Selectable, type SqlBool, sql } from 'kysely'
import type { GitCredentialConfig, GitCredentialItem } from '../../domain/git/credential.ts'
import type { Principal } from '../../domain/permission.ts'
import type { Queryable, Tx } from '../database.ts'
import type { GitCredentialsTable } from '../schema.ts'

export type StoredGitCredential = Selectable<GitCredentialsTable>

/** Those of the team, and the person's own; null: only those of the team. The oldest first. */
export async function listGitCredentials(
  db: Queryable,
  team: string,
  person: string | null,
): Promise<StoredGitCredential[]> {
  return await db
    .selectFrom('git_credentials')
    .selectAll()
    .where('team', '=', team)
    .where(sql<SqlBool>`(person is null or person = ${person})`)
    .orderBy('created_at')
    .orderBy('id')
    .execute()
}

/** Null when there is none that the person sees. */
export async function findGitCredential(
  db: Queryable,
  { team, person, id }: { team: string; person: string | null; id: string },
): Promise<StoredGitCredential | null> {
  const row = await db
    .selectFrom('git_credentials')
    .selectAll()
    .where('team', '=', team)
    .where('id', '=', id)
    .where(sql<SqlBool>`(person is null or person = ${person})`)
    .executeTakeFirst()
  return row ?? null
}

export async function insertGitCredential(
  tx: Tx,
  made: { id: string; team: string; person: string | null; by: Principal; config: GitCredentialConfig; secret: Buffer },
): Promise<StoredGitCredential> {
  const { id, team, person, by, config, secret } = made
  return await tx
    .insertInto('git_credentials')
    .values({ id, team, person, ...columnsOf(config), secret, created_by_type: by.type, created_by: by.uid })
    .returningAll()
    .executeTakeFirstOrThrow()
}

/** Puts it in its place. `secret`: null keeps the one that it has. */
export async function replaceGitCredential(
  tx: Tx,
  id: string,
  { config, secret }: { config: GitCredentialConfig; secret: Buffer | null },
): Promise<StoredGitCredential> {
  return await tx
    .updateTable('git_credentials')
    .set((eb) => ({
      ...columnsOf(config),
      ...(secret === null ? {} : { secret }),
      revision: eb('revision', '+', 1),
      updated_at: sql`now()`,
    }))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow()
}

export async function deleteGitCredential(tx: Tx, id: string): Promise<void> {
  await tx.deleteFrom('git_credentials').where('id', '=', id).execute()
}

/** Written once a minute at most: many runs use one credential. */
export async function noteGitCredentialUse(db: Queryable, id: string): Promise<void> {
  await db
    .updateTable('git_credentials')
    .set({ last_used_at: sql`now()` })
    .where('id', '=', id)
    .where(sql<SqlBool>`(last_used_at is null or last_used_at < now() - interval '1 minute')`)
    .execute()
}

const columnsOf = ({ name, url, type, username, github_app: app, access, forge }: GitCredentialConfig) => ({
  name,
  url: url.replace(/\/+$/, ''),
  type,
  username: username ?? null,
  app_id: app?.app_id ?? null,
  api_url: app?.api_url?.replace(/\/+$/, '') ?? null,
  access,
  forge: forge ?? null,
})

export const serveGitCredential = (row: StoredGitCredential): GitCredentialItem => ({
  uid: row.id,
  name: row.name,
  url: row.url,
  type: row.type,
  username: row.username,
  github_app: row.app_id === null ? null : { app_id: row.app_id, api_url: row.api_url },
  access: row.access,
  forge: row.forge,
  scope: row.person === null ? { type: 'Team', uid: row.team } : { type: 'User', uid: row.person },
  last_used_at: row.last_used_at?.toISOString() ?? null,
  created_by: { type: row.created_by_type, uid: row.created_by },
  created_at: row.created_at.toISOString(),
  updated_at: row.updated_at.toISOString(),
})
