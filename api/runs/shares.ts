// With whom a run is shared, beside its team.
import { randomBytes } from 'node:crypto'
import { type Request, type Response, Router } from 'express'
import { Uid } from '../../domain/account.ts'
import { NewShare } from '../../domain/share.ts'
import { findActivePerson } from '../../store/accounts/people.ts'
import { teamExists } from '../../store/accounts/teams.ts'
import { note } from '../../store/audit.ts'
import type { Tx } from '../../store/database.ts'
import { listShares, type ShareTarget, shareRun, unshareRun } from '../../store/runs/run-shares.ts'
import { callerOf } from '../access/caller.ts'
import { shareUrl } from '../access/share-links.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid, notFound } from '../errors.ts'
import { onlyMethods, parseBody } from '../parse.ts'
import { runFor } from './run-access.ts'
import { refuseUnknown } from './unknown-fields.ts'
import { fieldsOf } from './unsupported.ts'

export function shareRoutes(deps: Pick<ApiDeps, 'db' | 'config'>): Router {
  const { db } = deps
  const router = Router()

  router
    .route('/runs/:runId/shares')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.share')
      response.json({ shares: await listShares(db, id) })
    })
    // Not through once(): sent again it does the same, and a link's token is not to be kept.
    .post(async (request, response) => {
      const { id, team } = await runFor(deps, request, response, 'runs.share')
      refuseUnknown('', fieldsOf(request.body), NewShare)
      const asked = parseBody(NewShare, request)
      const by = callerOf(response)
      const expiresAt = endOf(asked)
      const answer = await db.transaction().execute(async (tx) => {
        const target = await targetOf(tx, asked, team)
        const item = await shareRun(tx, { runId: id, target, level: asked.level, expiresAt, by })
        const detail = { with: target.with, level: asked.level, share: item.uid }
        await note(tx, { caller: by, action: 'runs.share', thing: { type: 'run', uid: id, team }, detail })
        return target.with === 'link'
          ? { ...item, token: target.token, url: shareUrl(deps.config, target.token) }
          : item
      })
      response.status(201).json(answer)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/runs/:runId/shares/:shareUid')
    .delete(async (request, response) => {
      await unshare(request, response)
      response.status(204).end()
    })
    .all(onlyMethods('DELETE'))

  return router

  async function unshare(request: Request, response: Response): Promise<void> {
    const { id, team } = await runFor(deps, request, response, 'runs.share')
    const uid = Uid.safeParse(request.params.shareUid)
    const isGone = await db.transaction().execute(async (tx) => {
      const share = uid.success ? await unshareRun(tx, id, uid.data) : null
      const thing = { type: 'run', uid: id, team }
      if (share)
        await note(tx, { caller: callerOf(response), action: 'runs.unshare', thing, detail: { share: share.uid } })
      return share !== null
    })
    if (!isGone) throw notFound(`The run has no share ${String(request.params.shareUid)}.`)
  }
}

function endOf({ expires_at: asked }: NewShare): Date | null {
  if (asked == null) return null
  const end = new Date(asked)
  if (end.getTime() <= Date.now()) throw invalid('expires_at: is over already')
  return end
}

/** Bytes of a link's token: beyond guessing. */
const TOKEN_BYTES = 32

async function targetOf(tx: Tx, asked: NewShare, ownTeam: string): Promise<ShareTarget> {
  if (asked.person != null && asked.with !== 'person') throw invalid('person: is only for with: person')
  if (asked.team != null && asked.with !== 'team') throw invalid('team: is only for with: team')
  if (asked.public && asked.with !== 'link') throw invalid('public: is only for with: link')
  switch (asked.with) {
    case 'person': {
      if (asked.person == null) throw invalid('person: is needed')
      const person = await findActivePerson(tx, asked.person)
      if (person === null) throw invalid(`person: there is nobody ${asked.person} who gets in here`)
      return { with: 'person', person }
    }
    case 'team': {
      const team = asked.team ?? ownTeam
      if (!(await teamExists(tx, team))) throw invalid(`team: there is no team ${team}`)
      return { with: 'team', team }
    }
    case 'link':
      if (asked.public && asked.level !== 'view')
        throw invalid('public: whoever has not signed in may view at most; leave it out, or say level: view')
      return { with: 'link', token: randomBytes(TOKEN_BYTES).toString('base64url'), isPublic: asked.public ?? false }
  }
}
