// Follows a run on the screen: its transcript, its questions, Ctrl-C, and the last words.
import { typed } from '../config.ts'
import type { RunEvent } from '../domain/event.ts'
import type { RunItem } from '../domain/run.ts'
import type { RunState } from '../domain/state.ts'
import type { Api } from './api/client.ts'
import { ask } from './ask.ts'
import { CliError, type ExitCode, exitCodeOf, exitCodes } from './exit.ts'
import { watchPlace } from './place.ts'
import { createProgress } from './progress.ts'
import { budgetBar } from './render/budget.ts'
import { addToTotals, noTotals, renderSummary, shortId, type Totals } from './render/summary.ts'
import { createRenderer } from './render.ts'
import type { Screen } from './screen.ts'
import { followEvents } from './stream.ts'

export interface FollowSettings {
  api: Api
  screen: Screen
  run: RunItem
  /** Sequence of the last event that was shown already. */
  after: number
  json: boolean
  /** The result is brought home after it: the last words need not say how. */
  bringsHome?: boolean
}

export interface Followed {
  /** The run as it is at the end of following. */
  run: RunItem
  exitCode: ExitCode
}

/**
 * Follows until the run is over (while a message waits for it, it is not),
 * waits for an answer that nobody here can give, or the person leaves with Ctrl-C.
 */
export async function follow(settings: FollowSettings): Promise<Followed> {
  const { api, screen, json } = settings
  const runId = settings.run.run_id
  const id = shortId(settings.run)
  const leave = new AbortController()
  const stop = new AbortController()
  const renderer = createRenderer(screen.style)
  const asking = new Map<string, AbortController>()
  let totals: Totals = { ...noTotals, isPart: settings.after > 0 }
  let shownQuestion: unknown = null
  let interrupted = false
  let questionFailure: unknown

  const onInterrupt = () => {
    if (interrupted) process.exit(exitCodes.interrupted)
    interrupted = true
    leave.abort()
  }
  process.on('SIGINT', onInterrupt)

  function show(event: RunEvent): void {
    totals = addToTotals(totals, event)
    if (json) screen.write(`${JSON.stringify(event)}\n`)
    else screen.write(renderer.push(event))
    if (event.kind === 'question') shownQuestion = event.data.question_id
    if (event.kind === 'answer') asking.get(String(event.data.question_id))?.abort()
  }

  /** The state in the transcript may be of yesterday: the server says what is open now. */
  async function onBlocked(): Promise<void> {
    const now = await api.get(runId)
    // Without an open question, an answer is on its way to the agent.
    if (now.state !== 'BLOCKED' || now.questions.length === 0) return
    // There is nothing to be typed here: what stops it is somewhere else.
    const isAboutMoney = now.questions.some(({ about }) => about !== undefined)
    if (isAboutMoney || !screen.interactive || json) {
      stop.abort()
      return
    }
    for (const question of now.questions) {
      if (asking.has(question.question_id)) continue
      const answered = new AbortController()
      asking.set(question.question_id, answered)
      const signal = AbortSignal.any([answered.signal, leave.signal, stop.signal])
      const withTitle = shownQuestion !== question.question_id
      const answer = await ask(screen, question, { withTitle, signal, onInterrupt })
      if (answer === null) continue
      await api.answer(runId, answer, question.question_id).catch((error: unknown) => {
        if (!(error instanceof CliError) || error.problem.status !== 409) throw error
        screen.note('Somebody else was faster: the question is answered already.')
      })
    }
  }

  const watchBlocked = () => {
    onBlocked().catch((error: unknown) => {
      questionFailure = error
      stop.abort()
    })
  }

  const budget = async () => {
    const [own] = (await api.get(runId)).budgets
    return own === undefined ? null : budgetBar(own)
  }
  const noop = () => {}
  let leaveLine = noop
  let state: RunState = settings.run.state
  const progress = screen.interactive && !json ? createProgress(screen, state, budget) : null
  try {
    if (settings.run.state === 'BLOCKED' && settings.after >= settings.run.last_event_sequence) watchBlocked()
    const events = followEvents(api, runId, {
      after: settings.after,
      signal: AbortSignal.any([leave.signal, stop.signal]),
      onConnection: (change) =>
        screen.note(change === 'lost' ? '(connection lost; the run goes on; reconnecting)' : '(connected again)'),
    })
    for await (const batch of events) {
      for (const event of batch) {
        show(event)
        if (event.kind !== 'state') continue
        state = event.data.state as RunState
        if (event.data.state === 'BLOCKED') watchBlocked()
        leaveLine()
        leaveLine = event.data.state === 'QUEUED' && screen.interactive && !json ? watchPlace(api, screen, runId) : noop
      }
      progress?.heard(state, renderer.running())
    }
  } finally {
    leaveLine()
    progress?.stop()
    stop.abort()
    process.off('SIGINT', onInterrupt)
    if (!json) screen.write(renderer.end())
    screen.status(null)
  }
  if (questionFailure !== undefined) throw questionFailure

  if (interrupted) {
    screen.note(
      `\nDetached: the run goes on.\n  Follow it again:  ${typed} logs ${id} --follow\n  Cancel it:        ${typed} cancel ${id}`,
    )
    return { run: settings.run, exitCode: exitCodes.interrupted }
  }
  const run = await api.get(runId)
  if (json) screen.write(`${JSON.stringify(run)}\n`)
  else
    screen.write(
      renderSummary(run, totals, screen.style, { transcript: true, bringsHome: settings.bringsHome === true }),
    )
  return { run, exitCode: exitCodeOf(run.state) }
}
