// Who people and service accounts are, as others see them.
import type { Profile } from '../../domain/account.ts'
import { OPERATOR, type Principal } from '../../domain/permission.ts'
import type { Queryable } from '../database.ts'

const nameOf = ({ type, uid }: Principal) => `${type} ${uid}`

/** The profiles of all these, for {@link profileIn}. Asks the database only where there is somebody to ask for. */
export async function profilesOf(db: Queryable, principals: readonly Principal[]): Promise<Map<string, Profile>> {
  const uidsOf = (type: Principal['type']) => [
    ...new Set(principals.filter((one) => one.type === type).map(({ uid }) => uid)),
  ]
  const [users, agents] = [uidsOf('user'), uidsOf('service_account')]
  const profiles = new Map<string, Profile>()
  if (users.length > 0) {
    const rows = await db
      .selectFrom('people')
      .select(['uid', 'display_name', 'email', 'photo_url'])
      .where('uid', 'in', users)
      .execute()
    for (const row of rows) profiles.set(nameOf({ type: 'user', uid: row.uid }), { type: 'user', ...row })
  }
  if (agents.length > 0) {
    const rows = await db.selectFrom('identities').select(['uid', 'name']).where('uid', 'in', agents).execute()
    for (const { uid, name } of rows) {
      const profile = { type: 'service_account', uid, display_name: name, email: null, photo_url: null } as const
      profiles.set(nameOf({ type: 'service_account', uid }), profile)
    }
  }
  return profiles
}

/** Clients know users and service accounts; whoever has the admin key is served as a user of that name. */
const operator: Profile = {
  type: 'user',
  uid: OPERATOR.uid,
  display_name: 'Operator',
  email: null,
  photo_url: null,
}

export function profileIn(profiles: ReadonlyMap<string, Profile>, principal: Principal): Profile {
  if (principal.type === 'operator') return operator
  const { type, uid } = principal
  return profiles.get(nameOf(principal)) ?? { type, uid, display_name: null, email: null, photo_url: null }
}
