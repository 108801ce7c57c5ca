// The checkpoints of a run, as people see them.
import { Router } from 'express'
import { PAGE_LIMIT } from '../../domain/limits.ts'
import { listCheckpoints } from '../../store/runs/checkpoint-history.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid } from '../errors.ts'
import { onlyMethods, queryOf, wholeNumber } from '../parse.ts'
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
      const limitText = query.get('limit')
      const limit = limitText === null ? DEFAULT_LIMIT : wholeNumber(limitText, 'limit', 1, PAGE_LIMIT)
      const before = beforeOf(query.get('cursor'))
      const { checkpoints, hasMore } = await listCheckpoints(deps.db, id, { before, limit })
      const last = checkpoints.at(-1)
      response.json({
        checkpoints,
        page_info: { has_next_page: hasMore, ...(hasMore && last ? { next_cursor: String(last.number) } : {}) },
      })
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
