// Which run made what is somewhere else: a pull request, a ticket, a message.
import { Router } from 'express'
import { referenceKey } from '../../domain/reference-url.ts'
import { findRunByReference } from '../../store/runs/external-references.ts'
import { callerOf, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid, notFound } from '../errors.ts'
import { onlyMethods, queryOf } from '../parse.ts'
import { visibleTo } from './run-access.ts'

export function referenceLookupRoutes({ db }: Pick<ApiDeps, 'db'>): Router {
  const router = Router()
  router
    .route('/run-by-external-reference')
    .get(permit('runs.view'), async (request, response) => {
      const url = queryOf(request).get('url')
      if (url === null || referenceKey(url) === null) throw invalid('url: must be a URL with http:// or https://')
      const id = await findRunByReference(db, visibleTo(callerOf(response)), url)
      if (id === null) throw notFound('No run that you may see has made this.')
      response.json({ run_id: id })
    })
    .all(onlyMethods('GET'))
  return router
}
