// The audit log: who did what, when, from where, to which thing. It is only ever added to.
import { type Selectable, sql } from 'kysely'
import type { AuditEntry, AuditVerification } from '../domain/audit.ts'
import type { Queryable, Tx } from './database.ts'
import { jsonb, storableText } from './json.ts'
import type { AuditLogTable } from './schema.ts'

/** Who did it, as far as is known. What `callerOf` tells is one. */
export interface Actor {
  type: 'operator' | 'user' | 'service_account' | 'unknown' | 'system'
  uid: string
  name?: string | null
  key?: { uid: string } | null
  /** Uid of the browser session. */
  session?: string | null
  /** The team that it is about, where the thing names none. */
  team?: string | null
  address?: string | null
  userAgent?: string | null
}

/** What the server does by itself: a schedule that it pauses, a webhook that it switches off. */
export const SYSTEM: Actor = { type: 'system', uid: 'ambient', name: 'Ambient' }

export interface Note {
  caller: Actor
  /** Of the permission table, or a word of its own, such as `sign_in.refused`. */
  action: string
  thing?: { type: string; uid: string; team?: string | null }
  /** A few names and numbers. Never a secret, a prompt, or a text of somebody's. */
  detail?: Record<string, string | number | boolean | null | readonly string[]>
}

const TEXT_CHARS = 500

/** Writes it down in the same transaction: it is in the log if, and only if, the change is made. */
export async function note(tx: Tx, { caller, action, thing, detail = {} }: Note): Promise<void> {
  await tx
    .insertInto('audit_inbox')
    .values({
      actor_type: caller.type,
      actor_uid: caller.uid,
      actor_name: short(caller.name),
      key_id: caller.key?.uid ?? caller.session ?? null,
      address: caller.address ?? null,
      user_agent: short(caller.userAgent),
      team: thing?.team !== undefined ? thing.team : (caller.team ?? null),
      action,
      thing_type: thing?.type ?? null,
      thing_uid: thing?.uid ?? null,
      detail: jsonb(detail),
    })
    .execute()
}

/** What others say of themselves may be of any length. */
const short = (text: string | null | undefined): string | null =>
  text == null ? null : storableText(text.slice(0, TEXT_CHARS))

export interface AuditFilter {
  /** Entries about this team; null: about any, and about none. */
  team: string | null
  actor?: string | undefined
  actorType?: AuditEntry['actor']['type'] | undefined
  actions: readonly string[]
  thingType?: string | undefined
  thing?: string | undefined
  createdAfter?: string | undefined
  createdBefore?: string | undefined
}

/** In the order in which they were written down, which has no holes. `after`: the position that the page before ended at. */
export async function listAuditEntries(
  db: Queryable,
  filter: AuditFilter,
  { after, limit, newestFirst }: { after: number | null; limit: number; newestFirst: boolean },
): Promise<AuditEntry[]> {
  const { team, actor, actorType, actions, thingType, thing, createdAfter, createdBefore } = filter
  let query = db.selectFrom('audit_log').selectAll()
  if (team !== null) query = query.where('team', '=', team)
  if (actor !== undefined) query = query.where('actor_uid', '=', actor)
  if (actorType !== undefined) query = query.where('actor_type', '=', actorType)
  if (actions.length > 0) query = query.where('action', 'in', actions)
  if (thingType !== undefined) query = query.where('thing_type', '=', thingType)
  if (thing !== undefined) query = query.where('thing_uid', '=', thing)
  if (createdAfter !== undefined) query = query.where('time', '>=', new Date(createdAfter))
  if (createdBefore !== undefined) query = query.where('time', '<', new Date(createdBefore))
  if (after !== null) query = query.where('position', newestFirst ? '<' : '>', after)
  const rows = await query
    .orderBy('position', newestFirst ? 'desc' : 'asc')
    .limit(limit)
    .execute()
  return rows.map(serve)
}

const serve = (row: Selectable<AuditLogTable>): AuditEntry => ({
  position: row.position,
  occurred_at: row.time.toISOString(),
  action: row.action,
  actor: { type: row.actor_type, uid: row.actor_uid, name: row.actor_name, key_uid: row.key_id },
  address: row.address,
  user_agent: row.user_agent,
  team: row.team,
  thing: row.thing_uid === null ? null : { type: row.thing_type ?? '', uid: row.thing_uid },
  detail: row.detail,
  hash: row.hash.toString('hex'),
})

/** So many entries are looked at by one query, which must be done well before the database's patience ends. */
const VERIFIED_AT_ONCE = 20_000

/** An entry's hash as it was noted somewhere else before. */
export interface KnownEntry {
  position: number
  hash: string
}

/**
 * Reads the whole log and computes every hash anew. A log that was written anew
 * as a whole, or cut off at its end, is only found out by an entry that is `known`.
 */
export async function verifyAuditLog(db: Queryable, known: KnownEntry | null): Promise<AuditVerification> {
  const head = await auditHead(db)
  let previous: KnownEntry = { position: 0, hash: '' }
  while (previous.position < head.position) {
    const part = await verifyPart(db, previous)
    if (part.broken !== null) return { intact: false, head, broken_at: part.broken, known: null }
    previous = part.last
  }
  if (known === null) return { intact: true, head, broken_at: null, known: null }
  const found = await db
    .selectFrom('audit_log')
    .select('hash')
    .where('position', '=', known.position)
    .executeTakeFirst()
  const isThere = found?.hash.toString('hex') === known.hash.toLowerCase()
  return { intact: isThere, head, broken_at: isThere ? null : known.position, known: isThere ? 'found' : 'missing' }
}

/** The newest entry: with its hash noted elsewhere, all that was before it is beyond change. */
export async function auditHead(db: Queryable): Promise<KnownEntry> {
  const row = await db
    .selectFrom('audit_log')
    .select(['position', 'hash'])
    .orderBy('position', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row ? { position: row.position, hash: row.hash.toString('hex') } : { position: 0, hash: '' }
}

async function verifyPart(
  db: Queryable,
  { position, hash }: KnownEntry,
): Promise<{ broken: number | null; last: KnownEntry }> {
  const end = position + VERIFIED_AT_ONCE
  // The first part begins at whatever comes first, which has to be 1.
  const from = position === 0 ? sql`true` : sql`position > ${position}`
  const { rows } = await sql<{ broken: number | null; hash: string | null; position: number | null }>`
    with part as (
      select position, hash,
        position <> lag(position, 1, ${position}::bigint) over (order by position) + 1
        or hash <> audit_hash(lag(hash, 1, decode(${hash}, 'hex')) over (order by position), log) as is_broken
      from audit_log as log where ${from} and position <= ${end}
    )
    select min(position) filter (where is_broken) as broken,
      (select encode(hash, 'hex') from part order by position desc limit 1) as hash,
      max(position) as position
    from part
  `.execute(db)
  const [row] = rows
  if (!row || row.position === null || row.hash === null) return { broken: position + 1, last: { position, hash } }
  return { broken: row.broken, last: { position: row.position, hash: row.hash } }
}
