// What people say to a run that is there: follow-ups, answers, cancel.
import { type Request, type Response, Router } from 'express'
import { Answer, Cancel, type CancelResponse, FollowUp } from '../domain/run.ts'
import { isTerminal } from '../domain/state.ts'
import { cancelTree } from '../store/cascade.ts'
import { lockRun } from '../store/locking.ts'
import { hasWaitingMessage, insertMail, pendingCancel, promptBody } from '../store/mail.ts'
import { type AnswerOutcome, answerQuestion } from '../store/questions.ts'
import { runExists, touchRun } from '../store/runs.ts'
import { traceOf } from '../telemetry/tracing.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, invalid, notFound } from './errors.ts'
import { once } from './once.ts'
import { onlyMethods, parseBody, runId } from './parse.ts'
import { heedFollowUpFields, refuseUnknown } from './unknown-fields.ts'
import { fieldsOf, refuseUnsupported } from './unsupported.ts'

export function messageRoutes(deps: ApiDeps): Router {
  const router = Router()

  const cancel = async (request: Request, response: Response) => {
    const id = runId(request)
    refuseUnknown('', fieldsOf(request.body), Cancel)
    if (parseBody(Cancel, request).cascade) return await cancelWithChildren(request, response, id)
    const answer = await once(deps, request, response, `POST /agent/runs/${id}/cancel`, async (tx) => {
      const run = await lockRun(tx, id)
      if (isTerminal(run.state) && !(await hasWaitingMessage(tx, id))) throw invalid(`The run is over: ${run.state}.`)
      if ((await pendingCancel(tx, id)) === null) {
        await insertMail(tx, id, 'cancel', { reason: 'Cancelled on request.' }, traceOf(response))
      }
      return { status: 200, response: id }
    })
    deps.dispatcher.nudge(id)
    // Bare text is the one answer that all official clients read as the same value.
    response.status(answer.status).type('text/plain').send(id)
  }
  const cancelWithChildren = async (request: Request, response: Response, id: string) => {
    const answer = await once(deps, request, response, `POST /agent/runs/${id}/cancel`, async (tx) => {
      if (!(await runExists(tx, id))) throw notFound(`There is no run ${id}.`)
      const cancelled = await cancelTree(tx, id, 'Cancelled on request.', traceOf(response))
      if (cancelled.length === 0) throw invalid('The run is over, and so is every run that it began.')
      return { status: 200, response: { run_id: id, cancelled_run_ids: cancelled } satisfies CancelResponse }
    })
    for (const cancelled of (answer.response as CancelResponse).cancelled_run_ids) deps.dispatcher.nudge(cancelled)
    response.status(answer.status).json(answer.response)
  }
  router.route('/runs/:runId/cancel').post(cancel).all(onlyMethods('POST'))
  router.route('/tasks/:runId/cancel').post(cancel).all(onlyMethods('POST'))

  router
    .route('/runs/:runId/followups')
    .post(async (request, response) => {
      const id = runId(request)
      refuseUnsupported(request.body)
      const warnings = heedFollowUpFields(request.body)
      const { message, delivery } = parseBody(FollowUp, request)
      const answer = await once(deps, request, response, `POST /agent/runs/${id}/followups`, async (tx) => {
        const run = await lockRun(tx, id)
        const messageId = await insertMail(tx, id, 'prompt', promptBody(message, delivery), traceOf(response))
        await touchRun(tx, id)
        // As the run is read from now on.
        const state = isTerminal(run.state) ? 'QUEUED' : run.state
        return {
          status: 200,
          response: { run_id: id, message_id: messageId, state, ...(warnings.length > 0 && { warnings }) },
        }
      })
      deps.dispatcher.nudge(id)
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('POST'))

  router
    .route('/runs/:runId/answers')
    .post(async (request, response) => {
      const id = runId(request)
      refuseUnknown('', fieldsOf(request.body), Answer)
      const body = parseBody(Answer, request)
      const answer = await once(deps, request, response, `POST /agent/runs/${id}/answers`, async (tx) => {
        await lockRun(tx, id)
        const wanted = { questionId: body.question_id ?? null, option: body.option_id }
        const outcome = accepted(await answerQuestion(tx, id, wanted, traceOf(response)))
        return {
          status: 200,
          response: { run_id: id, question_id: outcome.questionId, option_id: outcome.optionId },
        }
      })
      deps.dispatcher.nudge(id)
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('POST'))

  return router
}

function accepted(outcome: AnswerOutcome): Extract<AnswerOutcome, { kind: 'answered' }> {
  switch (outcome.kind) {
    case 'answered':
      return outcome
    case 'no_open_question':
      throw new HttpError(409, 'conflict', 'The run does not wait for an answer.')
    case 'several_open':
      throw invalid(`question_id: is needed, these are open: ${outcome.questionIds.join(', ')}`)
    case 'unknown_question':
      throw notFound('The run has asked no such question.')
    case 'already_answered':
      throw new HttpError(409, 'conflict', 'The question has been answered already, or is no longer open.')
    case 'unknown_option': {
      const options = outcome.options.map(({ optionId, name }) => `${optionId} (${name})`)
      throw invalid(`option_id: must be allow, deny or one of: ${options.join(', ')}`)
    }
  }
}
