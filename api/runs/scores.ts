// Scores that scorers give to runs.
import { Router } from 'express'
import { parse } from '../../domain/parse.ts'
import { HttpError } from '../../domain/problem.ts'
import { PostScores, Score, type ScoreItem, type ScoresResponse } from '../../domain/score.ts'
import { note } from '../../store/audit.ts'
import { touchRun } from '../../store/runs/runs.ts'
import { saveScore } from '../../store/runs/scores.ts'
import { callerOf } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid } from '../errors.ts'
import { once } from '../once.ts'
import { onlyMethods, parseBody } from '../parse.ts'
import { runFor } from './run-access.ts'

export function scoreRoutes(deps: ApiDeps): Router {
  const router = Router()
  router
    .route('/runs/:runId/scores')
    .post(async (request, response) => {
      const { id, team } = await runFor(deps, request, response, 'runs.score')
      const { scores } = parseBody(PostScores, request)
      const answer = await once(deps, request, response, `POST /agent/runs/${id}/scores`, async (tx) => {
        const stored: ScoreItem[] = []
        const errors: ScoresResponse['errors'] = []
        for (const [index, given] of scores.entries()) {
          const checked = checkedScore(given)
          if (typeof checked === 'string') errors.push({ index, message: checked })
          else stored.push(await saveScore(tx, id, checked, callerOf(response)))
        }
        if (stored.length === 0)
          throw invalid(errors.map(({ index, message }) => `scores.${index}: ${message}`).join('; '))
        await touchRun(tx, id)
        await note(tx, { caller: callerOf(response), action: 'runs.score', thing: { type: 'run', uid: id, team } })
        return {
          status: errors.length === 0 ? 200 : 206,
          response: { run_id: id, scores: stored, errors } satisfies ScoresResponse,
        }
      })
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('POST'))
  return router
}

/** A text: what is wrong with it. */
function checkedScore(given: unknown): Score | string {
  try {
    return parse(Score, given)
  } catch (error) {
    if (error instanceof HttpError) return error.message
    throw error
  }
}
