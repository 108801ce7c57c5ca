// The pull requests of a run, and asking for them again.
import { Router } from 'express'
import type { PullRequests } from '../../domain/git/pull-request.ts'
import { note } from '../../store/audit.ts'
import { askedPullRequests, listPullRequests } from '../../store/runs/pull-requests.ts'
import {
  AGAIN_SIGNAL,
  ORCHESTRATOR_QUEUE,
  PULL_REQUESTS_WORKFLOW,
  pullRequestsWorkflowId,
} from '../../workflows/contract.ts'
import { callerOf } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { isAway } from '../dispatcher.ts'
import { HttpError } from '../errors.ts'
import { onlyMethods } from '../parse.ts'
import { runFor } from './run-access.ts'

/** Temporal answers in milliseconds or is away. */
const CALL_MS = 5_000

export function pullRequestRoutes(deps: ApiDeps): Router {
  const { db, client } = deps
  const router = Router()

  router
    .route('/runs/:runId/pull-requests')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.view')
      response.json({ pull_requests: await listPullRequests(db, id) } satisfies PullRequests)
    })
    .post(async (request, response) => {
      const { id, team } = await runFor(deps, request, response, 'runs.steer')
      const all = await askedPullRequests(db, id)
      if (all.length === 0)
        throw new HttpError(409, 'conflict', `The run ${id} was asked for no pull request, or has no result yet.`)
      const execution = all.find(({ asked }) => asked !== null)?.asked?.execution
      if (execution === undefined)
        throw new HttpError(
          409,
          'conflict',
          `No commits of the run ${id} were pushed, so there is nothing to open a pull request for. Its transcript says why.`,
        )
      const thing = { type: 'run', uid: id, team }
      const detail = { pull_requests: all.length }
      // Before it is done: what is done elsewhere cannot be in one transaction with it.
      await db
        .transaction()
        .execute((tx) => note(tx, { caller: callerOf(response), action: 'runs.steer', thing, detail }))
      await begin(id, execution)
      response.status(202).json({ pull_requests: await listPullRequests(db, id) } satisfies PullRequests)
    })
    .all(onlyMethods('GET', 'POST'))

  return router

  /** The workflow that waits for a forge is told; where none does, one begins. */
  async function begin(id: string, execution: number): Promise<void> {
    try {
      await client.connection.withDeadline(Date.now() + CALL_MS, () =>
        client.workflow.signalWithStart(PULL_REQUESTS_WORKFLOW, {
          workflowId: pullRequestsWorkflowId({ runId: id, execution }),
          taskQueue: ORCHESTRATOR_QUEUE,
          args: [{ runId: id, execution }],
          signal: AGAIN_SIGNAL,
          signalArgs: [],
          workflowIdReusePolicy: 'ALLOW_DUPLICATE',
          staticSummary: 'pull requests of a run',
        }),
      )
    } catch (error) {
      if (!isAway(error)) throw error
      throw new HttpError(503, 'resource_unavailable', 'Temporal does not answer. Try again in a moment.', {
        cause: error,
      })
    }
  }
}
