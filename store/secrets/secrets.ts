// Secrets: sealed values under names. A team in every query.
import { type Selectable, sql } from 'kysely'
import type { Principal } from '../../domain/permission.ts'
import type { NewSecret, SecretChange, SecretItem, SecretScope } from '../../domain/vault/secret.ts'
import { profileIn, profilesOf } from '../accounts/principals.ts'
import type { Queryable, Tx } from '../database.ts'
import type { SecretsTable } from '../schema.ts'
import { isTaken } from '../taken.ts'

type SecretRow = Selectable<SecretsTable>

/** There is a secret of this name in this scope already. */
export class SecretTakenError extends Error {
  override readonly name = 'SecretTakenError'
}

/** Under which context the vault seals a secret's value. */
export const secretContext = (uid: string): string => `secret:${uid}`

/** Whose secrets a query is about: personal ones are seen by their person alone. */
export interface SecretView {
  team: string
  /** The person whose own are seen; null: nobody's. */
  person: string | null
}

/** @throws {SecretTakenError} */
export async function insertSecret(
  tx: Tx,
  { uid, team, owner, by }: { uid: string; team: string; owner: string; by: Principal },
  { name, kind, path, description, scope }: NewSecret,
  sealed: Buffer,
): Promise<SecretItem> {
  try {
    const row = await tx
      .insertInto('secrets')
      .values({
        uid,
        team,
        scope,
        owner,
        name,
        kind,
        path: path ?? null,
        description,
        sealed,
        created_by_type: by.type,
        created_by: by.uid,
        updated_by_type: by.type,
        updated_by: by.uid,
      })
      .returningAll()
      .executeTakeFirstOrThrow()
    return await serveOne(tx, row)
  } catch (error) {
    if (isTaken(error)) throw new SecretTakenError(name)
    throw error
  }
}

/** Null when there is none that may be seen. */
export async function findSecret(db: Queryable, view: SecretView, uid: string): Promise<SecretItem | null> {
  const row = await visible(db, view).where('uid', '=', uid).executeTakeFirst()
  return row ? await serveOne(db, row) : null
}

export interface SecretFilter {
  scope?: SecretScope | undefined
  owner?: string | undefined
  name?: string | undefined
}

/** By name. `after`: the last one of the page before. */
export async function listSecrets(
  db: Queryable,
  view: SecretView,
  { scope, owner, name }: SecretFilter,
  { after, limit }: { after: { name: string; uid: string } | null; limit: number },
): Promise<SecretItem[]> {
  let query = visible(db, view)
  if (scope !== undefined) query = query.where('scope', '=', scope)
  if (owner !== undefined) query = query.where('owner', '=', owner)
  if (name !== undefined) query = query.where('name', '=', name)
  if (after !== null) query = query.where(sql<boolean>`(name, uid) > (${after.name}, ${after.uid})`)
  return await serve(db, await query.orderBy('name').orderBy('uid').limit(limit).execute())
}

/** `sealed`: the new value; null where it stays. Null when there is no such secret. */
export async function changeSecret(
  tx: Tx,
  { view, uid, by }: { view: SecretView; uid: string; by: Principal },
  { description, path }: SecretChange,
  sealed: Buffer | null,
): Promise<SecretItem | null> {
  const stored = await visible(tx, view).where('uid', '=', uid).forUpdate().executeTakeFirst()
  if (!stored) return null
  const row = await tx
    .updateTable('secrets')
    .set({
      ...(sealed === null ? {} : { sealed, former_sealed: stored.sealed, version: stored.version + 1 }),
      ...(path === undefined ? {} : { path }),
      ...(description === undefined ? {} : { description }),
      updated_at: sql`now()`,
      updated_by_type: by.type,
      updated_by: by.uid,
    })
    .where('uid', '=', uid)
    .returningAll()
    .executeTakeFirstOrThrow()
  return await serveOne(tx, row)
}

/** False when there is none. Runs that have it keep it until their sandbox is gone. */
export async function deleteSecret(tx: Tx, view: SecretView, uid: string): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('secrets')
    .where('uid', 'in', visible(tx, view).where('uid', '=', uid).clearSelect().select('uid'))
    .executeTakeFirst()
  return numDeletedRows > 0n
}

/** With the environment or the service account that they belong to. */
export async function deleteSecretsOf(tx: Tx, scope: 'environment' | 'agent', owner: string): Promise<void> {
  await tx.deleteFrom('secrets').where('scope', '=', scope).where('owner', '=', owner).execute()
}

const visible = (db: Queryable, { team, person }: SecretView) =>
  db
    .selectFrom('secrets')
    .selectAll()
    .where('team', '=', team)
    .where((is) => is.or([is('scope', '!=', 'person'), is('owner', '=', person ?? '')]))

async function serveOne(db: Queryable, row: SecretRow): Promise<SecretItem> {
  const [item] = await serve(db, [row])
  if (!item) throw new TypeError('every row is served')
  return item
}

async function serve(db: Queryable, rows: readonly SecretRow[]): Promise<SecretItem[]> {
  const makers = rows.flatMap((row) => [makerOf(row), editorOf(row)])
  const profiles = await profilesOf(db, makers)
  return rows.map((row) => ({
    uid: row.uid,
    name: row.name,
    kind: row.kind,
    path: row.path,
    description: row.description,
    scope: row.scope,
    owner: row.owner === '' ? null : row.owner,
    team: row.team,
    version: row.version,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    created_by: profileIn(profiles, makerOf(row)),
    updated_by: profileIn(profiles, editorOf(row)),
    last_used_at: row.last_used_at?.toISOString() ?? null,
  }))
}

const makerOf = ({ created_by_type: type, created_by: uid }: SecretRow): Principal => ({ type, uid })
const editorOf = ({ updated_by_type: type, updated_by: uid }: SecretRow): Principal => ({ type, uid })
