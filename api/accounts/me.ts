// Who is speaking.
import { Router } from 'express'
import type { Me } from '../../domain/account.ts'
import { actions, may } from '../../domain/permission.ts'
import { listTeams } from '../../store/accounts/teams.ts'
import { callerOf, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { onlyMethods } from '../parse.ts'

export function meRoutes({ db }: Pick<ApiDeps, 'db'>): Router {
  const router = Router()
  router
    .route('/me')
    .get(permit('account.view'), async (_request, response) => {
      const caller = callerOf(response)
      const { type, uid, name, email, team, role, scope, key, memberships } = caller
      const teams = await listTeams(db, memberships)
      const answer: Me = {
        type,
        uid,
        display_name: name,
        email,
        team: { uid: team, name: teams.find((one) => one.uid === team)?.name ?? team },
        role,
        scope,
        teams,
        key: key && { uid: key.uid, expires_at: key.expiresAt?.toISOString() ?? null },
        may: actions.filter((action) => may(action, caller)),
      }
      response.json(answer)
    })
    .all(onlyMethods('GET'))
  return router
}
