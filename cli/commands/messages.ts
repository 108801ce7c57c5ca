// `ambient send`, `ambient answer`, `ambient cancel`: what a person says to a run.
import { typed } from '../../config.ts'
import { answerTo, ask, type GivenAnswer } from '../ask.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { follow } from '../follow.ts'
import { findRun, readPrompt } from '../input.ts'
import { answerHint, type Question } from '../render/question.ts'
import { plainStyle } from '../render/style.ts'
import { questionLines } from '../render/summary.ts'
import { asTyped, plural } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface SendOptions {
  interrupt?: boolean
  follow?: boolean
  file?: string
  json?: boolean
}

export async function send(given: string, argument: string | undefined, options: SendOptions): Promise<ExitCode> {
  const screen = createScreen()
  const json = options.json === true
  const message = await readPrompt(argument, options.file)
  if (message === null) throw usageError('What shall the agent be told?', `${typed} send <id> "…"`)
  const api = connect()
  const runId = await findRun(api, given)
  const { last_event_sequence: after } = await api.get(runId)
  const { state } = await api.send(runId, message, options.interrupt ? 'interrupt' : 'queue')
  const id = runId.slice(0, 8)
  // As it is with the message: a run that had ended waits to go on.
  const run = json || options.follow ? await api.get(runId) : null
  if (json) screen.write(`${JSON.stringify(run)}\n`)
  if (options.follow && run) return (await follow({ api, screen, run, after, json })).exitCode
  if (!json) {
    const running = state === 'INPROGRESS' && !options.interrupt
    screen.write(`Sent to ${id}.${running ? ' The agent gets it after its present turn.' : ''}\n`)
    screen.note(`Follow it: ${typed} logs ${id} --follow --after ${after}`)
  }
  return exitCodes.succeeded
}

export interface AnswerOptions {
  question?: string
  follow?: boolean
  json?: boolean
}

export async function answer(given: string, option: string | undefined, options: AnswerOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const runId = await findRun(api, given)
  const run = await api.get(runId)
  const question = questionOf(run.questions, options.question)
  if (question?.about !== undefined) {
    const advice = question.next_step
    throw usageError(
      'The run waits for more to spend, which no answer gives it.',
      advice === undefined ? undefined : asTyped(advice),
    )
  }
  // What is no option of a question that takes words, is one in words. The server knows whether an option fits.
  let chosen: GivenAnswer | null =
    option === undefined ? null : question?.free_text ? answerTo(question, option) : { option_id: option }
  if (chosen === null && question && screen.interactive) {
    chosen = await ask(screen, question, {
      withTitle: true,
      signal: new AbortController().signal,
      onInterrupt: () => process.exit(exitCodes.interrupted),
    })
  }
  if (chosen === null) {
    if (run.questions.length === 0) throw usageError('The run asks nothing.', `Its state is ${run.state}.`)
    const [example, more] = answerHint(question ?? { options: [] })
    throw usageError(
      `Which answer?\n${questionLines(run, plainStyle, { isShown: false }).join('\n')}`,
      `${typed} answer ${runId.slice(0, 8)} ${example} (${more})`,
    )
  }
  await api.answer(runId, chosen, options.question ?? question?.question_id)
  const now = { run_id: runId, question_id: options.question ?? question?.question_id ?? null, ...chosen }
  const words = 'text' in chosen ? chosen.text : chosen.option_id
  const { last_event_sequence: after } = run
  const json = options.json === true
  if (json) screen.write(`${JSON.stringify(now)}\n`)
  if (options.follow) return (await follow({ api, screen, run: await api.get(runId), after, json })).exitCode
  if (!json) {
    const id = runId.slice(0, 8)
    screen.write(`Answered ${id}: ${words}.\n`)
    screen.note(`Follow it: ${typed} logs ${id} --follow --after ${after}`)
  }
  return exitCodes.succeeded
}

function questionOf(open: readonly Question[], wanted: string | undefined): Question | undefined {
  if (wanted !== undefined) return open.find(({ question_id }) => question_id === wanted)
  if (open.length > 1) {
    throw usageError(
      'The run asks several questions.',
      `Say which one with --question: ${open.map((each) => each.question_id).join(', ')}`,
    )
  }
  return open[0]
}

export interface CancelOptions {
  children?: boolean
  json?: boolean
}

export async function cancel(given: string, options: CancelOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const runId = await findRun(api, given)
  if (options.children) {
    const cancelled = await api.cancelTree(runId)
    const ids = cancelled.map((id) => id.slice(0, 8)).join(', ')
    screen.write(
      options.json
        ? `${JSON.stringify({ run_id: runId, cancelling: true, cancelled_run_ids: cancelled })}\n`
        : `Being cancelled, ${plural(cancelled.length, 'run')}: ${ids}.\n`,
    )
    return exitCodes.succeeded
  }
  await api.cancel(runId)
  screen.write(
    options.json
      ? `${JSON.stringify({ run_id: runId, cancelling: true })}\n`
      : `Run ${runId.slice(0, 8)} is being cancelled.\n`,
  )
  return exitCodes.succeeded
}
