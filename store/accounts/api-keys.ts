// The keys by which people and service accounts speak to the API, beside the admin key of the settings. Only their hashes
// are kept.
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { type Selectable, sql } from 'kysely'
import type { ApiKeyItem } from '../../domain/api-key.ts'
import type { CallerType, Principal, Role, Scope } from '../../domain/permission.ts'
import type { Queryable, Tx } from '../database.ts'
import type { ApiKeysTable } from '../schema.ts'
import { hashOfSecret } from '../secret-hash.ts'
import { newUid } from '../uid.ts'
import { tellAccessChanged } from './access-channel.ts'
import { profileIn, profilesOf } from './principals.ts'

/** Characters of a key that are shown: its kind, and as much as tells it from others. */
const PREFIX = 11
/** When it was used last is written down no more often than this. */
const USE_NOTED_SECONDS = 60

export interface Membership {
  team: string
  role: Role
}

/** Who is behind a key or a session. */
export interface Holder {
  type: Exclude<CallerType, 'operator'>
  uid: string
  name: string
  email: string | null
  scope: Scope
  /** Those that this key is good for, in the order of joining. */
  memberships: readonly Membership[]
  /** Null: a session. */
  key: { uid: string; team: string | null; expiresAt: Date | null } | null
}

interface HolderRow {
  key_uid: string
  key_hash: string
  key_team: string | null
  scope: Scope
  expires_at: Date | null
  is_use_old: boolean
  person: string | null
  agent: string | null
  name: string
  email: string | null
  memberships: Membership[] | null
}

/** Who has this key; null where it is none, or is good no longer. One query: it precedes every request. */
export async function findHolder(db: Queryable, key: string): Promise<Holder | null> {
  const hash = hashOfSecret(key)
  const { rows } = await sql<HolderRow>`
    select api_keys.uid as key_uid, api_keys.key_hash, api_keys.team as key_team, api_keys.scope, api_keys.expires_at,
      coalesce(api_keys.last_used_at < now() - make_interval(secs => ${USE_NOTED_SECONDS}), true) as is_use_old,
      people.uid as person, people.email, identities.uid as agent,
      coalesce(people.display_name, identities.name) as name,
      case when identities.uid is not null then json_build_array(json_build_object('team', identities.team, 'role', 'member'))
      else (
        select json_agg(json_build_object('team', members.team, 'role', members.role) order by joined_at, members.team)
        from members
        where members.person = people.uid and (api_keys.team is null or api_keys.team = members.team)
      ) end as memberships
    from api_keys
    left join people on people.uid = api_keys.person and people.disabled_at is null
    left join identities on identities.uid = api_keys.agent and identities.deleted_at is null
    where api_keys.key_hash = ${hash}
      and api_keys.revoked_at is null
      and (api_keys.expires_at is null or api_keys.expires_at > now())
      and num_nonnulls(people.uid, identities.uid) = 1
  `.execute(db)
  const [row] = rows
  if (!row || !timingSafeEqual(Buffer.from(row.key_hash, 'hex'), Buffer.from(hash, 'hex'))) return null
  if (row.is_use_old) await noteUse(db, row.key_uid)
  return {
    type: row.person === null ? 'service_account' : 'user',
    uid: row.person ?? row.agent ?? '',
    name: row.name,
    email: row.email,
    scope: row.scope,
    memberships: row.memberships ?? [],
    key: { uid: row.key_uid, team: row.key_team, expiresAt: row.expires_at },
  }
}

/** Whether there ever was such a key. */
export async function isKnownKey(db: Queryable, key: string): Promise<boolean> {
  const row = await db.selectFrom('api_keys').select('uid').where('key_hash', '=', hashOfSecret(key)).executeTakeFirst()
  return row !== undefined
}

/** Of requests at the same time one writes; the others find it written, or being written, and go on. */
async function noteUse(db: Queryable, uid: string): Promise<void> {
  await sql`
    update api_keys set last_used_at = now() where uid in (
      select uid from api_keys
      where uid = ${uid}
        and coalesce(last_used_at < now() - make_interval(secs => ${USE_NOTED_SECONDS}), true)
      for update skip locked
    )
  `.execute(db)
}

export interface NewKey {
  name: string
  /** Whose it is. */
  owner: { person: string } | { agent: string }
  /** Null: all teams of the person. */
  team: string | null
  scope: Scope
  expiresAt: Date | null
  createdBy: Principal
  /** The key of whoever makes it; null where they have none. */
  madeWith: string | null
}

/** A new key. It is returned here and never again. */
export async function createApiKey(tx: Tx, asked: NewKey): Promise<{ key: string; item: ApiKeyItem }> {
  const key = `wk-${randomBytes(32).toString('base64url')}`
  const { owner, name, team, scope, expiresAt, createdBy, madeWith } = asked
  const row = await tx
    .insertInto('api_keys')
    .values({
      uid: newUid(),
      name,
      prefix: key.slice(0, PREFIX),
      key_hash: hashOfSecret(key),
      person: 'person' in owner ? owner.person : null,
      agent: 'agent' in owner ? owner.agent : null,
      team,
      scope,
      expires_at: expiresAt,
      created_by_type: createdBy.type,
      created_by: createdBy.uid,
      made_with: madeWith,
    })
    .returning(served)
    .executeTakeFirstOrThrow()
  const [item] = await serve(tx, [row])
  if (!item) throw new TypeError('every row is served')
  return { key, item }
}

/** Which keys are meant: somebody's own, or all that a team's admins see to; the operator also those that are good for more than the team; or any. */
export type KeySelection =
  | { person: string; teams: readonly string[] | null }
  | { team: string; withUnbound: boolean }
  | 'any'

/** Those that are not revoked, the oldest first. Expired ones are among them. */
export async function listApiKeys(db: Queryable, which: KeySelection): Promise<ApiKeyItem[]> {
  const rows = await db
    .selectFrom('api_keys')
    .select(served)
    .where('revoked_at', 'is', null)
    .where(sql<boolean>`${selected(which)}`)
    .orderBy('created_at')
    .orderBy('uid')
    .execute()
  return serve(db, rows)
}

/** From now on nobody gets in with it. Null when there is no such key among those that are meant. */
export async function revokeApiKey(tx: Tx, uid: string, which: KeySelection): Promise<ApiKeyItem | null> {
  const row = await tx
    .updateTable('api_keys')
    .set({ revoked_at: sql`now()` })
    .where('uid', '=', uid)
    .where('revoked_at', 'is', null)
    .where(sql<boolean>`${selected(which)}`)
    .returning(served)
    .executeTakeFirst()
  if (!row) return null
  await tellAccessChanged(tx)
  const [item] = await serve(tx, [row])
  return item ?? null
}

/** The keys that were made with this one, and with those, and are still good. */
export async function keysMadeWith(tx: Tx, uid: string): Promise<string[]> {
  const { rows } = await sql<{ uid: string }>`
    with recursive made (uid) as (
      select uid from api_keys where made_with = ${uid}
      union
      select api_keys.uid from api_keys join made on api_keys.made_with = made.uid
    )
    select uid from made where exists (
      select from api_keys where api_keys.uid = made.uid and revoked_at is null
        and (expires_at is null or expires_at > now())
    )
    order by uid
  `.execute(tx)
  return rows.map((row) => row.uid)
}

/** Whoever has a key of one team sees of their own keys only that team's. */
function selected(which: KeySelection) {
  if (which === 'any') return sql`true`
  if ('person' in which) {
    const own = sql`api_keys.person = ${which.person}`
    return which.teams === null ? own : sql`(${own} and api_keys.team = any(${which.teams}::text[]))`
  }
  const ofTeam = sql`api_keys.team = ${which.team}`
  const ofMembers = sql`api_keys.team is null and api_keys.person in (select person from members where team = ${which.team})`
  return which.withUnbound ? sql`(${ofTeam} or (${ofMembers}))` : ofTeam
}

/** The keys of a service account that is deleted, or of a person's in a team that they leave. */
export async function revokeKeysOf(tx: Tx, whose: { agent: string } | { person: string; team: string }): Promise<void> {
  let update = tx.updateTable('api_keys').set({ revoked_at: sql`now()` }).where('revoked_at', 'is', null)
  update =
    'agent' in whose
      ? update.where('agent', '=', whose.agent)
      : update.where('person', '=', whose.person).where('team', '=', whose.team)
  await update.execute()
  await tellAccessChanged(tx)
}

const served = [
  'uid',
  'name',
  'prefix',
  'person',
  'agent',
  'team',
  'scope',
  'created_by_type',
  'created_by',
  'made_with',
  'created_at',
  'expires_at',
  'last_used_at',
] as const

type KeyRow = Pick<Selectable<ApiKeysTable>, (typeof served)[number]>

const ownerOf = ({ person, agent }: KeyRow): Principal =>
  person === null ? { type: 'service_account', uid: agent ?? '' } : { type: 'user', uid: person }

const makerOf = ({ created_by_type: type, created_by: uid }: KeyRow): Principal => ({ type, uid })

async function serve(db: Queryable, rows: readonly KeyRow[]): Promise<ApiKeyItem[]> {
  const profiles = await profilesOf(db, [...rows.map(ownerOf), ...rows.map(makerOf)])
  return rows.map((row) => ({
    uid: row.uid,
    name: row.name,
    key_prefix: row.prefix,
    owner: profileIn(profiles, ownerOf(row)),
    team: row.team,
    scope: row.scope,
    created_at: row.created_at.toISOString(),
    created_by: profileIn(profiles, makerOf(row)),
    made_with: row.made_with,
    expires_at: row.expires_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
  }))
}
