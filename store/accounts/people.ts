// People: who they are, and which of them get in.
import { sql } from 'kysely'
import type { PersonChange, PersonItem } from '../../domain/account.ts'
import type { Role } from '../../domain/permission.ts'
import type { Queryable, Tx } from '../database.ts'
import { isTaken } from '../taken.ts'
import { newUid } from '../uid.ts'
import { tellAccessChanged } from './access-channel.ts'
import type { Membership } from './api-keys.ts'

/** Another person has this address. */
export class EmailTakenError extends Error {
  override readonly name = 'EmailTakenError'
  constructor(email: string) {
    super(`There is somebody with the address ${email} already.`)
  }
}

/** The person with this address, made where there is none. */
export async function personByEmail(
  tx: Tx,
  { email, displayName }: { email: string; displayName?: string | undefined },
): Promise<{ uid: string; isNew: boolean }> {
  const made = await tx
    .insertInto('people')
    .values({ uid: newUid(), email: email.toLowerCase(), display_name: displayName ?? email, photo_url: null })
    .onConflict((conflict) => conflict.column('email').doNothing())
    .returning('uid')
    .executeTakeFirst()
  if (made) return { ...made, isNew: true }
  const { uid } = await tx
    .selectFrom('people')
    .select('uid')
    .where('email', '=', email.toLowerCase())
    .executeTakeFirstOrThrow()
  return { uid, isNew: false }
}

/** A person by uid or e-mail address, unless disabled; null when there is none. */
export async function findActivePerson(db: Queryable, given: string): Promise<string | null> {
  const byEmail = given.includes('@')
  const row = await db
    .selectFrom('people')
    .select('uid')
    .where(byEmail ? 'email' : 'uid', '=', byEmail ? given.toLowerCase() : given)
    .where('disabled_at', 'is', null)
    .executeTakeFirst()
  return row?.uid ?? null
}

/** What a person who gets in otherwise than by a key may do; null when there is no such person, or they are disabled. */
export async function findPersonHolder(
  db: Queryable,
  uid: string,
): Promise<{ uid: string; name: string; email: string; memberships: Membership[] } | null> {
  const row = await db
    .selectFrom('people')
    .select(['uid', 'email', 'display_name'])
    .where('uid', '=', uid)
    .where('disabled_at', 'is', null)
    .executeTakeFirst()
  if (!row) return null
  const memberships = await db
    .selectFrom('members')
    .select(['team', 'role'])
    .where('person', '=', uid)
    .orderBy('joined_at')
    .orderBy('team')
    .execute()
  return { uid, name: row.display_name, email: row.email, memberships }
}

export interface PeopleQuery {
  /** Those who are in one of these teams, and of their teams these; null: everybody, and all of their teams. */
  teams: readonly string[] | null
  /** The address of the last one of the page before. */
  after: string | null
  limit: number
}

/** By their addresses. */
export async function listPeople(db: Queryable, { teams, after, limit }: PeopleQuery): Promise<PersonItem[]> {
  const { rows } = await sql<PersonRow>`
    select people.*, ${teamsOf(teams)} as teams from people
    where deleted_at is null and ${after === null ? sql`true` : sql`email > ${after}`}
      and ${teams === null ? sql`true` : sql`uid in (select person from members where team = any(${teams}::text[]))`}
    order by email
    limit ${limit}
  `.execute(db)
  return rows.map(serve)
}

/** Null when there is no such person. */
export async function findPerson(
  db: Queryable,
  uid: string,
  teams: readonly string[] | null,
): Promise<PersonItem | null> {
  const { rows } = await sql<PersonRow>`
    select people.*, ${teamsOf(teams)} as teams from people
    where uid = ${uid} and deleted_at is null
      and ${teams === null ? sql`true` : sql`uid in (select person from members where team = any(${teams}::text[]))`}
  `.execute(db)
  return rows[0] ? serve(rows[0]) : null
}

const teamsOf = (teams: readonly string[] | null) => sql`(
  select coalesce(json_agg(
    json_build_object('uid', teams.name, 'name', teams.display_name, 'role', members.role)
    order by joined_at, teams.name
  ), '[]')
  from members join teams on teams.name = members.team
  where members.person = people.uid and ${teams === null ? sql`true` : sql`members.team = any(${teams}::text[])`}
)`

/** False when there is no such person. @throws {EmailTakenError} */
export async function changePerson(
  tx: Tx,
  uid: string,
  { email, display_name: displayName, disabled }: PersonChange,
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('people')
    .set({
      updated_at: sql`now()`,
      ...(email !== undefined && { email }),
      ...(displayName !== undefined && { display_name: displayName }),
      ...(disabled !== undefined && { disabled_at: disabled ? sql`coalesce(disabled_at, now())` : null }),
    })
    .where('uid', '=', uid)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
    .catch((error: unknown) => {
      throw email !== undefined && isTaken(error) ? new EmailTakenError(email) : error
    })
  if (disabled) await tellAccessChanged(tx)
  return numUpdatedRows > 0n
}

interface PersonRow {
  uid: string
  email: string
  display_name: string
  photo_url: string | null
  created_at: Date
  updated_at: Date
  disabled_at: Date | null
  teams: { uid: string; name: string; role: Role }[]
}

const serve = (row: PersonRow): PersonItem => ({
  uid: row.uid,
  email: row.email,
  display_name: row.display_name,
  photo_url: row.photo_url,
  disabled: row.disabled_at !== null,
  created_at: row.created_at.toISOString(),
  updated_at: row.updated_at.toISOString(),
  teams: row.teams,
})
