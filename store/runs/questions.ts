// What agents have asked, and what was answered.
import { sql } from 'kysely'
import type { RunItem } from '../../domain/run.ts'
import type { AgentQuestion } from '../../workflows/contract.ts'
import type { Queryable, Tx } from '../database.ts'
import { wayOnFrom, wayOnOf } from '../money/stops.ts'
import { findAsk } from './asks.ts'
import { insertMail, promptBody } from './mail.ts'

type Options = AgentQuestion['options']

export type AnswerOutcome =
  | { kind: 'answered'; mailId: string; questionId: string; optionId: string | null }
  | { kind: 'no_open_question' }
  | { kind: 'several_open'; questionIds: string[] }
  | { kind: 'unknown_question' }
  | { kind: 'already_answered' }
  /** What is asked is for more to spend. */
  | { kind: 'about_money'; nextStep: string }
  | { kind: 'no_free_text' }
  /** `words`: it may be answered by a word for an option. */
  | { kind: 'unknown_option'; options: Options; words: boolean }

export type GivenAnswer = { option: string } | { text: string }

/** Answers a question as a piece of mail. The caller holds the run's lock, so of two answers one comes too late. */
export async function answerQuestion(
  tx: Tx,
  runId: string,
  answer: { questionId: string | null } & GivenAnswer,
  trace: string | null = null,
): Promise<AnswerOutcome> {
  const questions = await tx
    .selectFrom('questions')
    .selectAll()
    .where('run_id', '=', runId)
    .orderBy('asked_at')
    .execute()
  const waiting = questions.filter((question) => question.closed_at === null)
  const open = waiting.filter((question) => question.answer_id === null)
  if (answer.questionId === null && open.length === 0) {
    return { kind: waiting.length > 0 ? 'already_answered' : 'no_open_question' }
  }
  if (answer.questionId === null && open.length > 1) {
    return { kind: 'several_open', questionIds: open.map((question) => question.question_id) }
  }
  const question =
    answer.questionId === null ? open[0] : questions.find(({ question_id }) => question_id === answer.questionId)
  if (!question) return { kind: 'unknown_question' }
  if (question.answer_id !== null || question.closed_at !== null) return { kind: 'already_answered' }
  const questionId = question.question_id
  const nextStep = await wayOnFrom(tx, questionId)
  if (nextStep !== null) return { kind: 'about_money', nextStep }
  const ask = await findAsk(tx, runId, questionId)
  if ('text' in answer && !ask?.freeText) return { kind: 'no_free_text' }
  const optionId = 'text' in answer ? null : chooseOption(question.options, answer.option)
  if (optionId === null && 'option' in answer)
    return { kind: 'unknown_option', options: question.options, words: ask === null }

  let mailId: string
  if (ask === null) mailId = await insertMail(tx, runId, 'answer', { questionId, optionId: optionId ?? '' }, trace)
  else {
    // The agent has ended its turn with the question: the answer is its next message.
    const chosen = question.options.find((option) => option.optionId === optionId)?.name ?? ''
    const text = replyTo(ask.title, 'text' in answer ? answer.text : chosen)
    mailId = await insertMail(tx, runId, 'prompt', { ...promptBody(text, 'queue'), questionId }, trace)
  }
  await tx
    .updateTable('questions')
    .set({ answer_id: mailId, option_id: optionId })
    .where('run_id', '=', runId)
    .where('question_id', '=', questionId)
    .execute()
  return { kind: 'answered', mailId, questionId, optionId }
}

const replyTo = (question: string, answer: string) => `You asked:\n\n${question}\n\nThe answer is:\n\n${answer}`

/** Kinds of the Agent Client Protocol that a word stands for; the narrowest one that is offered is meant. */
const words: Record<string, readonly string[]> = {
  allow: ['allow_once', 'allow_always'],
  deny: ['reject_once', 'reject_always'],
}

/** The option of that id, or the one that the word `allow` or `deny` means. */
function chooseOption(options: Options, answer: string): string | null {
  if (options.some((option) => option.optionId === answer)) return answer
  for (const kind of words[answer] ?? []) {
    const option = options.find((candidate) => candidate.kind === kind)
    if (option) return option.optionId
  }
  return null
}

/**
 * The questions that wait for an answer, by run. What is to be decided is told
 * whole, from the question's event: the row has what passed through the
 * workflow's history, which is its beginning.
 */
export async function openQuestions(
  db: Queryable,
  runIds: readonly string[],
): Promise<Map<string, RunItem['questions']>> {
  const open = new Map<string, RunItem['questions']>()
  if (runIds.length === 0) return open
  const rows = await db
    .selectFrom('questions')
    .leftJoinLateral(
      (eb) =>
        eb
          .selectFrom('events')
          .select('events.data')
          .whereRef('events.run_id', '=', 'questions.run_id')
          .where('events.kind', '=', 'question')
          .whereRef(sql`events.data ->> 'question_id'`, '=', 'questions.question_id')
          // It is among the last: the run has stopped at it.
          .orderBy('events.sequence', 'desc')
          .limit(1)
          .as('asked'),
      (join) => join.onTrue(),
    )
    .leftJoin('asks', (join) =>
      join.onRef('asks.run_id', '=', 'questions.run_id').onRef('asks.uid', '=', 'questions.question_id'),
    )
    .select(['questions.run_id', 'questions.question_id', 'questions.title', 'questions.options', 'asked.data'])
    .leftJoin('budget_stops', 'budget_stops.uid', 'questions.question_id')
    .leftJoin('budgets', 'budgets.uid', 'budget_stops.budget_uid')
    .select(['asks.free_text', 'budget_stops.reason', 'budgets.uid', 'budgets.scope', 'budgets.thing'])
    .where('questions.run_id', 'in', runIds)
    .where('questions.closed_at', 'is', null)
    .where('questions.answer_id', 'is', null)
    .orderBy('questions.asked_at')
    .execute()
  for (const row of rows) {
    const options = row.options.map(({ optionId, name, kind }) => ({ option_id: optionId, name, kind }))
    const questions = open.get(row.run_id) ?? []
    const { title, tool_call: toolCall } = row.data ?? {}
    const question = {
      question_id: row.question_id,
      title: typeof title === 'string' ? title : row.title,
      tool_call: isRecord(toolCall) ? toolCall : null,
      options,
      ...(row.free_text !== null && { free_text: row.free_text }),
      ...(row.reason !== null && { about: row.reason, next_step: wayOnOf(row.reason, row) }),
    }
    open.set(row.run_id, [...questions, question])
  }
  return open
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
