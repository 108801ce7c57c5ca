// Reading the audit log, and checking that it is what was written.
import { type Request, Router } from 'express'
import { type AuditPage, actorTypes } from '../domain/audit.ts'
import { type AuditFilter, listAuditEntries, verifyAuditLog } from '../store/audit.ts'
import { type Caller, callerOf, permit } from './access/caller.ts'
import type { ApiDeps } from './deps.ts'
import { createDoor } from './door.ts'
import { HttpError, invalid } from './errors.ts'
import { logPage } from './log-page.ts'
import { onlyMethods, queryOf } from './parse.ts'
import { oneOf, time } from './runs/list-query.ts'

export function auditRoutes({ db }: Pick<ApiDeps, 'db'>): Router {
  const router = Router()
  // Each reads the whole log.
  const door = createDoor(1)

  router
    .route('/audit-log')
    .get(permit('audit.view'), async (request, response) => {
      const query = queryOf(request)
      const filter = filterOf(query, callerOf(response))
      response.json((await logPage(query, (range) => listAuditEntries(db, filter, range))) satisfies AuditPage)
    })
    .all(onlyMethods('GET'))

  router
    .route('/audit-log/verify')
    .get(permit('audit.view'), async (request, response) => {
      response.json(await door(() => verifyAuditLog(db, knownEntry(request))))
    })
    .all(onlyMethods('GET'))

  return router
}

function filterOf(query: URLSearchParams, caller: Caller): AuditFilter {
  const isAll = oneOf(query, 'all', ['true', 'false']) === 'true'
  if (isAll && caller.type !== 'operator')
    throw new HttpError(403, 'not_authorized', 'all: entries of all teams, and of none, are for the operator.')
  return {
    team: isAll ? null : caller.team,
    actor: query.get('actor') || undefined,
    actorType: oneOf(query, 'actor_type', actorTypes),
    actions: query.getAll('action').filter((action) => action !== ''),
    thingType: query.get('thing_type') || undefined,
    thing: query.get('thing') || undefined,
    createdAfter: time(query, 'created_after'),
    createdBefore: time(query, 'created_before'),
  }
}

/** An entry that was noted elsewhere, as `position:hash`. */
function knownEntry(request: Request): { position: number; hash: string } | null {
  const known = queryOf(request).get('known')
  if (!known) return null
  const [, position, hash] = /^([1-9]\d{0,14}):([0-9a-f]{64})$/i.exec(known) ?? []
  if (position === undefined || hash === undefined) throw invalid('known: must be <position>:<hash>')
  return { position: Number(position), hash }
}
