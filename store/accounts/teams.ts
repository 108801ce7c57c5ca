// Teams, and who is in them.
import { sql } from 'kysely'
import type { MemberItem, TeamChange, TeamItem } from '../../domain/account.ts'
import type { Principal, Role } from '../../domain/permission.ts'
import { noTeamLimits, type TeamLimits, type TeamLimitsChange } from '../../domain/team-limits.ts'
import type { Queryable, Tx } from '../database.ts'
import { lockLine } from '../locking.ts'
import { moveLine } from '../queue/admission.ts'
import { newUid } from '../uid.ts'
import { tellAccessChanged } from './access-channel.ts'
import { revokeKeysOf } from './api-keys.ts'

/** The one that a server starts with. */
export const DEFAULT_TEAM = 'default'

/** What the settings say, for the teams that have no limit of their own. */
export async function setRunLimit(db: Queryable, runLimit: number): Promise<void> {
  await db.updateTable('teams').set({ run_limit: runLimit }).where('has_own_limit', '=', false).execute()
}

export async function teamExists(db: Queryable, uid: string): Promise<boolean> {
  const team = db.selectFrom('teams').select('name').where('name', '=', uid).where('deleted_at', 'is', null)
  return (await team.executeTakeFirst()) !== undefined
}

/** Of these, or of all; each as whoever asks is in it. By name. */
export async function listTeams(
  db: Queryable,
  which: 'all' | readonly { team: string; role: Role }[],
): Promise<TeamItem[]> {
  const roles = which === 'all' ? null : new Map(which.map(({ team, role }) => [team, role]))
  if (roles?.size === 0) return []
  let select = db.selectFrom('teams').select(served).where('deleted_at', 'is', null)
  if (roles !== null) select = select.where('name', 'in', [...roles.keys()])
  const rows = await select.orderBy('display_name').orderBy('name').execute()
  return rows.map((row) => serve(row, roles?.get(row.name) ?? 'admin'))
}

/** A new team, with the service account that every team has. */
export async function insertTeam(
  tx: Tx,
  {
    name,
    runLimit,
    limits = {},
    standard,
    by,
  }: { name: string; runLimit: number | null; limits?: TeamLimitsChange; standard: number; by: Principal },
): Promise<TeamItem> {
  const row = await tx
    .insertInto('teams')
    .values({
      name: newUid(),
      display_name: name,
      run_limit: runLimit ?? standard,
      has_own_limit: runLimit !== null,
      limits: withoutNulls(limits),
    })
    .returning(served)
    .executeTakeFirstOrThrow()
  await tx
    .insertInto('identities')
    .values({
      uid: newUid(),
      team: row.name,
      name: 'Default',
      config: sql`'{}'::jsonb`,
      is_default: true,
      created_by_type: by.type,
      created_by: by.uid,
    })
    .execute()
  return serve(row, 'admin')
}

/** Null when there is no such team. `standard`: the limit of teams without their own. */
export async function changeTeam(
  tx: Tx,
  uid: string,
  { name, run_limit: runLimit, limits }: TeamChange,
  standard: number,
): Promise<TeamItem | null> {
  const row = await tx
    .updateTable('teams')
    .set({
      updated_at: sql`now()`,
      ...(name !== undefined && { display_name: name }),
      ...(runLimit !== undefined && { run_limit: runLimit ?? standard, has_own_limit: runLimit !== null }),
      ...(limits !== undefined && {
        limits: sql<object>`jsonb_strip_nulls(limits || ${JSON.stringify(limits)}::jsonb)`,
      }),
    })
    .where('name', '=', uid)
    .where('deleted_at', 'is', null)
    .returning(served)
    .executeTakeFirst()
  if (!row) return null
  if (runLimit !== undefined) {
    // Who waited for the limit may have room now. Last in its transaction: the line is locked until its end.
    await lockLine(tx)
    await moveLine(tx)
  }
  return serve(row, 'admin')
}

const withoutNulls = (limits: TeamLimitsChange): Partial<TeamLimits> =>
  Object.fromEntries(Object.entries(limits).filter(([, most]) => most !== null))

const served = ['name', 'display_name', 'run_limit', 'limits', 'created_at', 'updated_at'] as const

const serve = (
  row: {
    name: string
    display_name: string
    run_limit: number
    limits: Partial<TeamLimits>
    created_at: Date
    updated_at: Date
  },
  role: Role,
): TeamItem => ({
  uid: row.name,
  name: row.display_name,
  role,
  run_limit: row.run_limit,
  limits: { ...noTeamLimits, ...row.limits },
  created_at: row.created_at.toISOString(),
  updated_at: row.updated_at.toISOString(),
})

/** By the order of joining. */
export async function listMembers(db: Queryable, team: string): Promise<MemberItem[]> {
  const rows = await selectMembers(db, team).orderBy('members.joined_at').orderBy('people.uid').execute()
  return rows.map(serveMember)
}

/** Null when the person is no member. */
export async function findMember(db: Queryable, team: string, person: string): Promise<MemberItem | null> {
  const row = await selectMembers(db, team).where('people.uid', '=', person).executeTakeFirst()
  return row ? serveMember(row) : null
}

/** An active member, by uid or e-mail address; null when there is none. */
export async function findActiveMember(db: Queryable, team: string, person: string): Promise<MemberItem | null> {
  const column = person.includes('@') ? 'people.email' : 'people.uid'
  const row = await selectMembers(db, team)
    .where(column, '=', person.includes('@') ? person.toLowerCase() : person)
    .where('people.disabled_at', 'is', null)
    .executeTakeFirst()
  return row ? serveMember(row) : null
}

const selectMembers = (db: Queryable, team: string) =>
  db
    .selectFrom('members')
    .innerJoin('people', 'people.uid', 'members.person')
    .select(['people.uid', 'people.email', 'people.display_name', 'people.photo_url', 'people.disabled_at'])
    .select(['members.role', 'members.joined_at'])
    .where('members.team', '=', team)

type MemberRow = Awaited<ReturnType<ReturnType<typeof selectMembers>['execute']>>[number]

const serveMember = ({ joined_at: joinedAt, disabled_at: disabledAt, ...row }: MemberRow): MemberItem => ({
  ...row,
  joined_at: joinedAt.toISOString(),
  disabled: disabledAt !== null,
})

/** False when the person is a member already. */
export async function addMember(tx: Tx, team: string, person: string, role: Role): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('members')
    .values({ team, person, role })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  return (numInsertedOrUpdatedRows ?? 0n) > 0n
}

/** False when the person is no member. */
export async function setRole(tx: Tx, team: string, person: string, role: Role): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('members')
    .set({ role })
    .where('team', '=', team)
    .where('person', '=', person)
    .executeTakeFirst()
  await tellAccessChanged(tx)
  return numUpdatedRows > 0n
}

/** With the keys that were good for this team alone. False when the person is no member. */
export async function removeMember(tx: Tx, team: string, person: string): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('members')
    .where('team', '=', team)
    .where('person', '=', person)
    .executeTakeFirst()
  if (numDeletedRows === 0n) return false
  await revokeKeysOf(tx, { person, team })
  return true
}
