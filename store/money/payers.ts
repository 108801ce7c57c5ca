// Who can have a budget.
import { OPERATOR } from '../../domain/permission.ts'
import { findIdentity } from '../accounts/identities.ts'
import { findMember } from '../accounts/teams.ts'
import type { Queryable } from '../database.ts'
import { findSchedule } from '../schedules/schedules.ts'

/** Whether the team has such a schedule, or such a person or service account; itself it has. */
export async function isPayer(
  db: Queryable,
  team: string,
  scope: 'schedule' | 'person' | 'team',
  uid: string,
): Promise<boolean> {
  if (scope === 'team') return uid === team
  if (scope === 'schedule') return (await findSchedule(db, { team, uid: OPERATOR.uid, seesAll: true }, uid)) !== null
  if (uid === OPERATOR.uid) return true
  return (await findMember(db, team, uid)) !== null || (await findIdentity(db, team, uid)) !== null
}
