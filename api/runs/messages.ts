// What people say to a run that is there: follow-ups, answers, cancel.
import { type Request, type Response, Router } from 'express'
import type { z } from 'zod'
import { Answer, Cancel, type CancelResponse, FollowUp } from '../../domain/run.ts'
import { isTerminal } from '../../domain/state.ts'
import { refuseMoreWithoutMoney } from '../../runs/money.ts'
import { modeOf } from '../../runs/start.ts'
import { note } from '../../store/audit.ts'
import type { Tx } from '../../store/database.ts'
import { lockRun } from '../../store/locking.ts'
import { attach } from '../../store/runs/attachments.ts'
import { cancelTree } from '../../store/runs/cascade.ts'
import { atWorkIn, lockConversationOf, restOf } from '../../store/runs/conversations.ts'
import { hasWaitingMessage, insertMail, pendingCancel, promptBody } from '../../store/runs/mail.ts'
import { type AnswerOutcome, answerQuestion, type GivenAnswer } from '../../store/runs/questions.ts'
import { runExists, touchRun } from '../../store/runs/runs.ts'
import { traceOf } from '../../telemetry/tracing.ts'
import { callerOf } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { onlyMethods, parseBody } from '../parse.ts'
import { keepAttachments } from './attachments.ts'
import { GO_ON } from './forks.ts'
import { reachIn, runFor } from './run-access.ts'
import { heedFollowUpFields, refuseUnknown } from './unknown-fields.ts'
import { fieldsOf, refuseUnsupported } from './unsupported.ts'

export function messageRoutes(deps: ApiDeps): Router {
  const router = Router()

  const cancel = async (request: Request, response: Response) => {
    const { id, team } = await runFor(deps, request, response, 'runs.cancel')
    refuseUnknown('', fieldsOf(request.body), Cancel)
    if (parseBody(Cancel, request).cascade) return await cancelWithChildren(request, response, { id, team })
    const answer = await once(deps, request, response, `POST /agent/runs/${id}/cancel`, async (tx) => {
      const run = await lockRun(tx, id)
      if (isTerminal(run.state) && !(await hasWaitingMessage(tx, id))) throw invalid(`The run is over: ${run.state}.`)
      if ((await pendingCancel(tx, id)) === null) {
        await insertMail(tx, id, 'cancel', { reason: 'Cancelled on request.' }, traceOf(response))
        await note(tx, { caller: callerOf(response), action: 'runs.cancel', thing: { type: 'run', uid: id, team } })
      }
      return { status: 200, response: id }
    })
    deps.dispatcher.nudge(id)
    // Bare text is the one answer that all official clients read as the same value.
    response.status(answer.status).type('text/plain').send(id)
  }
  const cancelWithChildren = async (request: Request, response: Response, run: { id: string; team: string }) => {
    const { id, team } = run
    const reach = reachIn(callerOf(response), team)
    const answer = await once(deps, request, response, `POST /agent/runs/${id}/cancel`, async (tx) => {
      if (!(await runExists(tx, id))) throw notFound(`There is no run ${id}.`)
      const cancelled = await cancelTree(tx, id, 'Cancelled on request.', traceOf(response), reach)
      if (cancelled.length === 0) throw invalid('The run is over, and so is every run that it began.')
      const detail = { cascade: true, cancelled: cancelled.length }
      await note(tx, {
        caller: callerOf(response),
        action: 'runs.cancel',
        thing: { type: 'run', uid: id, team },
        detail,
      })
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
      const { id, team } = await runFor(deps, request, response, 'runs.steer')
      refuseUnsupported(request.body)
      const warnings = heedFollowUpFields(request.body)
      const { message, delivery, mode, ...sent } = parseBody(FollowUp, request)
      const attachments = await keepAttachments(deps, sent)
      const answer = await once(deps, request, response, `POST /agent/runs/${id}/followups`, async (tx) => {
        await lockConversationOf(tx, id)
        const run = await lockRun(tx, id)
        const isOver = isTerminal(run.state) && !(await hasWaitingMessage(tx, id))
        if (isOver) await refuseMoreWithoutMoney(tx, deps.config, id)
        const text = await textOf(tx, id, isOver, message)
        const prompt = promptBody(text, delivery, attachments.length, modeOf({ mode }, run.agent))
        const messageId = await insertMail(tx, id, 'prompt', prompt, traceOf(response))
        await attach(tx, { runId: id, mailId: messageId }, attachments)
        await touchRun(tx, id)
        const detail = { message_id: messageId, delivery }
        await note(tx, {
          caller: callerOf(response),
          action: 'runs.steer',
          thing: { type: 'run', uid: id, team },
          detail,
        })
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
      const { id, team } = await runFor(deps, request, response, 'runs.answer')
      refuseUnknown('', fieldsOf(request.body), Answer)
      const body = parseBody(Answer, request)
      const answer = await once(deps, request, response, `POST /agent/runs/${id}/answers`, async (tx) => {
        await lockRun(tx, id)
        const wanted = { questionId: body.question_id ?? null, ...answerOf(body) }
        const outcome = accepted(await answerQuestion(tx, id, wanted, traceOf(response)))
        const detail = { question_id: outcome.questionId, option_id: outcome.optionId }
        await note(tx, {
          caller: callerOf(response),
          action: 'runs.answer',
          thing: { type: 'run', uid: id, team },
          detail,
        })
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

/**
 * What the agent is told; a run that has ended goes on, unless its conversation does so elsewhere.
 * @throws {HttpError} 409 where it does; 400 for a message that is missing where one is needed.
 */
async function textOf(tx: Tx, id: string, isOver: boolean, message: string | null | undefined): Promise<string> {
  const isBlank = message == null || message.trim() === ''
  if (!isOver && isBlank) throw invalid('message: must not be empty while the run is going on')
  if (!isOver) return message ?? ''
  const { conversationId, isSaved } = await restOf(tx, id)
  const atWork = await atWorkIn(tx, conversationId, id)
  if (atWork !== null)
    throw new HttpError(
      409,
      'conflict',
      `The conversation goes on in the run ${atWork}, which is not over. Send that one the message, or wait for its end.`,
    )
  if (isBlank && !isSaved)
    throw invalid('message: must not be empty: nothing is kept of the run that it could go on with')
  return isBlank ? GO_ON : (message ?? '')
}

/** In words, or by an option. */
function answerOf({ option_id: option, text }: z.infer<typeof Answer>): GivenAnswer {
  if (option != null && text != null) throw invalid('text: cannot be given together with option_id')
  if (option != null) return { option }
  if (text == null || text.trim() === '') throw invalid('option_id: is needed, or text')
  return { text }
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
    case 'no_free_text':
      throw invalid('text: the question wants one of its options, by option_id')
    case 'already_answered':
      throw new HttpError(409, 'conflict', 'The question has been answered already, or is no longer open.')
    case 'about_money':
      throw new HttpError(
        409,
        'conflict',
        `The run waits for more to spend, which no answer gives it. ${outcome.nextStep} Or cancel the run.`,
      )
    case 'unknown_option': {
      const options = outcome.options.map(({ optionId, name }) => `${optionId} (${name})`)
      throw invalid(`option_id: must be ${outcome.words ? 'allow, deny or ' : ''}one of: ${options.join(', ')}`)
    }
  }
}
