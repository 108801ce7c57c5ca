// The checkpoints of a run, as people see them.
import { Router } from 'express'
import { listCheckpoints } from '../../store/runs/checkpoint-history.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid } from '../errors.ts'
import { limitOf, pageInfo } from '../page.ts'
import { onlyMethods, queryOf } from '../parse.ts'
import { runFor } from './run-access.ts'

const DEFAULT_LIMIT = 20
const MAX_NUMBER = 2 ** 31 - 1

export function checkpointListRoutes(deps: ApiDeps): Router {
  const router = Router()
  router
    .route('/runs/:runId/checkpoints')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.view')
      const query = queryOf(request)
      const limit = limitOf(query, DEFAULT_LIMIT)
      const before = beforeOf(query.get('cursor'))
      const { checkpoints, hasMore } = await listCheckpoints(deps.db, id, { before, limit })
      const last = checkpoints.at(-1)
      response.json({ checkpoints, page_info: pageInfo(hasMore && last ? String(last.number) : null) })
    })
    .all(onlyMethods('GET'))
  return router
}

/** The number of the last checkpoint of the page before. */
function beforeOf(cursor: string | null): number | null {
  if (cursor === null) return null
  if (!/^[1-9]\d{0,9}$/.test(cursor) || Number(cursor) > MAX_NUMBER) throw invalid('cursor: is not one of this list')
  return Number(cursor)
}
