// Browser sessions. They are known by the hash of what the browser keeps; one that is over has no row.
import { type RawBuilder, sql } from 'kysely'
import type { SessionItem } from '../../domain/session.ts'
import type { Queryable, Tx } from '../database.ts'
import { hashOfSecret } from '../secret-hash.ts'
import { newUid } from '../uid.ts'
import { tellAccessChanged } from './access-channel.ts'
import type { Holder, Membership } from './api-keys.ts'

/** When it was used last is written down no more often than this. */
const USE_NOTED_SECONDS = 60

/** Whose session it is: a person's, or that of whoever has the admin key, as long as it is that key. */
export type SessionOwner = { person: string; keyUid: string | null } | { operatorKey: string }

export interface NewSession {
  token: string
  owner: SessionOwner
  hours: number
  address: string
  userAgent: string | null
}

export async function createSession(tx: Tx, { token, owner, hours, address, userAgent }: NewSession): Promise<string> {
  const uid = newUid()
  await tx
    .insertInto('sessions')
    .values({
      uid,
      token_hash: hashOfSecret(token),
      person: 'person' in owner ? owner.person : null,
      key_uid: 'person' in owner ? owner.keyUid : null,
      operator_key_hash: 'person' in owner ? null : hashOfSecret(owner.operatorKey),
      address,
      user_agent: userAgent?.slice(0, 500) ?? null,
      expires_at: sql`now() + make_interval(hours => ${hours})`,
    })
    .execute()
  return uid
}

export interface Session {
  uid: string
  expiresAt: Date
  /** Null: the operator. */
  holder: Holder | null
}

interface SessionRow {
  uid: string
  expires_at: Date
  is_use_old: boolean
  person: string | null
  name: string
  email: string
  key_uid: string | null
  key_team: string | null
  key_scope: NonNullable<Holder>['scope'] | null
  key_expires_at: Date | null
  memberships: Membership[] | null
}

/**
 * The session of a browser; null where it is over: too old, not used for too
 * long, its person disabled, or the key gone that it was begun with. One query:
 * it precedes every request.
 */
export async function findSession(
  db: Queryable,
  { token, idleMinutes, operatorKey }: { token: string; idleMinutes: number; operatorKey: string },
): Promise<Session | null> {
  const { rows } = await sql<SessionRow>`
    select sessions.uid, sessions.expires_at, sessions.person, people.display_name as name, people.email,
      sessions.last_used_at < now() - make_interval(secs => ${USE_NOTED_SECONDS}) as is_use_old,
      api_keys.uid as key_uid, api_keys.team as key_team, api_keys.scope as key_scope, api_keys.expires_at as key_expires_at,
      (
        select json_agg(json_build_object('team', members.team, 'role', members.role) order by joined_at, members.team)
        from members
        where members.person = people.uid and (api_keys.team is null or api_keys.team = members.team)
      ) as memberships
    from sessions
    left join people on people.uid = sessions.person
    left join api_keys on api_keys.uid = sessions.key_uid
    where sessions.token_hash = ${hashOfSecret(token)} and ${isAlive(idleMinutes, operatorKey)}
  `.execute(db)
  const [row] = rows
  if (!row) return null
  if (row.is_use_old) await noteUse(db, row.uid)
  return { uid: row.uid, expiresAt: row.expires_at, holder: holderOf(row) }
}

/** For queries on `sessions`, `people` and `api_keys`. */
const isAlive = (idleMinutes: number, operatorKey: string): RawBuilder<unknown> => sql`
  sessions.expires_at > now()
  and sessions.last_used_at > now() - make_interval(mins => ${idleMinutes})
  and (sessions.person is null or people.disabled_at is null)
  and (sessions.operator_key_hash is null or sessions.operator_key_hash = ${hashOfSecret(operatorKey)})
  and (
    sessions.key_uid is null
    or (api_keys.revoked_at is null and (api_keys.expires_at is null or api_keys.expires_at > now()))
  )
`

function holderOf(row: SessionRow): Holder | null {
  if (row.person === null) return null
  return {
    type: 'user',
    uid: row.person,
    name: row.name,
    email: row.email,
    scope: row.key_scope ?? 'admin',
    memberships: row.memberships ?? [],
    key: row.key_uid === null ? null : { uid: row.key_uid, team: row.key_team, expiresAt: row.key_expires_at },
  }
}

/** Of requests at the same time one writes. */
async function noteUse(db: Queryable, uid: string): Promise<void> {
  await sql`
    update sessions set last_used_at = now()
    where uid in (select uid from sessions where uid = ${uid} for update skip locked)
  `.execute(db)
}

/** Whose sessions are meant; null: the operator's. */
type Whose = string | null

const whose = (person: Whose) =>
  person === null ? sql<boolean>`sessions.person is null` : sql<boolean>`sessions.person = ${person}`

/** Those that can still be used, the newest first. */
export async function listSessions(
  db: Queryable,
  { person, idleMinutes, operatorKey }: { person: Whose; idleMinutes: number; operatorKey: string },
): Promise<Omit<SessionItem, 'current'>[]> {
  const { rows } = await sql<{
    uid: string
    address: string
    user_agent: string | null
    created_at: Date
    last_used_at: Date
    expires_at: Date
  }>`
    select sessions.uid, address, user_agent, sessions.created_at, sessions.last_used_at, sessions.expires_at
    from sessions
    left join people on people.uid = sessions.person
    left join api_keys on api_keys.uid = sessions.key_uid
    where ${whose(person)} and ${isAlive(idleMinutes, operatorKey)}
    order by sessions.created_at desc, sessions.uid
  `.execute(db)
  return rows.map((row) => ({
    uid: row.uid,
    address: row.address,
    user_agent: row.user_agent,
    created_at: row.created_at.toISOString(),
    last_used_at: row.last_used_at.toISOString(),
    expires_at: row.expires_at.toISOString(),
  }))
}

/** From now on nobody gets in with it. False when there is no such session. */
export async function endSession(tx: Tx, uid: string, person: Whose): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('sessions')
    .where('uid', '=', uid)
    .where(whose(person))
    .executeTakeFirst()
  await tellAccessChanged(tx)
  return numDeletedRows > 0n
}

/** All of somebody's. @returns how many. */
export async function endSessionsOf(tx: Tx, person: Whose): Promise<number> {
  const { numDeletedRows } = await tx.deleteFrom('sessions').where(whose(person)).executeTakeFirst()
  await tellAccessChanged(tx)
  return Number(numDeletedRows)
}

/** Ends what nobody can use any more. */
export async function dropOldSessions(db: Queryable, idleMinutes: number): Promise<void> {
  await sql`
    delete from sessions
    where expires_at < now() or last_used_at < now() - make_interval(mins => ${idleMinutes})
  `.execute(db)
  await sql`delete from sign_ins where expires_at < now()`.execute(db)
}
