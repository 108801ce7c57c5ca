// Who can have a budget.
import { OPERATOR } from '../../domain/permission.ts'
import type { Queryable } from '../database.ts'

/** Whether the team has such a schedule, or such a person or service account; itself it has. */
export async function isPayer(
  db: Queryable,
  team: string,
  scope: 'schedule' | 'person' | 'team',
  uid: string,
): Promise<boolean> {
  if (scope === 'team') return uid === team
  if (scope === 'schedule') {
    const schedule = await db
      .selectFrom('schedules')
      .select('id')
      .where('team', '=', team)
      .where('id', '=', uid)
      .where('deleted_at', 'is', null)
      .executeTakeFirst()
    return schedule !== undefined
  }
  if (uid === OPERATOR.uid) return true
  const member = await db
    .selectFrom('members')
    .select('person')
    .where('team', '=', team)
    .where('person', '=', uid)
    .executeTakeFirst()
  if (member) return true
  const identity = await db
    .selectFrom('identities')
    .select('uid')
    .where('team', '=', team)
    .where('uid', '=', uid)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return identity !== undefined
}
