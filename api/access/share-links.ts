// A run that is shared by link, for whoever opens the link.
import { createHmac } from 'node:crypto'
import { type Request, Router } from 'express'
import { publicUrl } from '../../config.ts'
import type { SharedRun } from '../../domain/share-link.ts'
import type { ShareLink } from '../../store/accounts/share-links.ts'
import { note } from '../../store/audit.ts'
import type { Tx } from '../../store/database.ts'
import { shareRun } from '../../store/runs/run-shares.ts'
import { findRun } from '../../store/runs/runs.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, notFound } from '../errors.ts'
import { onlyMethods } from '../parse.ts'
import { withoutAddresses } from '../runs/run-access.ts'
import { pipeUnlessGone } from '../send.ts'
import { bearerToken } from './auth.ts'
import type { Caller } from './caller.ts'
import { callerByKey, type IdentifyDeps, linkBy } from './identify.ts'
import { sessionOf } from './session.ts'
import { sharePage } from './share-page.ts'
import { beginPage, sendPage } from './sign-in-page.ts'

export const SHARE_LINKS = '/r'

/** The address that opens a shared run. */
export const shareUrl = (config: ApiDeps['config'], token: string): string =>
  `${publicUrl(config)}${SHARE_LINKS}/${token}`

/** The token of the link that a run is begun with: known again to whoever sends the request again, and kept by nobody. */
export const firstLinkToken = (key: string, runId: string): string =>
  createHmac('sha256', key).update(`ambient share\n${runId}`).digest('base64url')

/** Shares a new run as its request asked for in Oz's words. */
export async function shareByLink(
  tx: Tx,
  key: string,
  runId: string,
  access: 'VIEWER' | 'EDITOR',
  caller: Caller,
): Promise<void> {
  const level = access === 'EDITOR' ? 'steer' : 'view'
  const target = { with: 'link', token: firstLinkToken(key, runId), isPublic: false } as const
  const { uid } = await shareRun(tx, { runId, target, level, expiresAt: null, by: caller })
  const detail = { with: 'link', level, share: uid }
  await note(tx, { caller, action: 'runs.share', thing: { type: 'run', uid: runId }, detail })
}

/** Below {@link SHARE_LINKS}. */
export function shareLinkRoutes(deps: IdentifyDeps): Router {
  const { config, db } = deps
  const router = Router()

  router
    .route('/:token')
    .get(async (request, response) => {
      response.set({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', 'x-robots-tag': 'noindex' })
      const asPage = request.accepts(['json', 'html']) === 'html'
      const link = await linkBy(deps, request, request.params.token)
      const run = link && (await findRun(db, link.runId))
      if (!link || !run) {
        if (!asPage) throw notFound('This link opens nothing, or nothing any more.')
        return sendPage(response, 404, 'Not found', ['<p>This link opens nothing, or nothing any more.</p>'])
      }
      if (!(await isLetIn(request, link))) {
        if (!asPage)
          throw new HttpError(401, 'authentication_required', 'This link is good only for somebody who has signed in.')
        return response.redirect(
          302,
          `/auth/login?return_to=${encodeURIComponent(request.originalUrl.split('?')[0] ?? '')}`,
        )
      }
      if (asPage) {
        response.write(beginPage(response, run.title, { wide: true }))
        return await pipeUnlessGone(sharePage(db, run, request.params.token), response)
      }
      const path = `${publicUrl(config)}/api/v1/agent/runs/${run.run_id}`
      response.json({
        level: link.level,
        run: withoutAddresses(run),
        urls: { run: path, events: `${path}/events` },
      } satisfies SharedRun)
    })
    .all(onlyMethods('GET'))

  return router

  async function isLetIn(request: Request, { isPublic }: ShareLink): Promise<boolean> {
    if (isPublic || (await sessionOf(deps, request)) !== null) return true
    if (request.get('authorization') === undefined) return false
    await callerByKey(deps, request, bearerToken(request))
    return true
  }
}
