// Follows a run on the screen: its transcript, its questions, Ctrl-C, and the last words.
import type { RunEvent } from '../domain/event.ts'
import type { RunItem } from '../domain/run.ts'
import { isTerminal, type RunState } from '../domain/state.ts'
import { ask } from './ask.ts'
import type { Api } from './client.ts'
import { CliError, type ExitCode, exitCodeOf, exitCodes } from './exit.ts'
import { addToTotals, noTotals, renderSummary, shortId } from './render/summary.ts'
import { createRenderer } from './render.ts'
import type { Screen } from './screen.ts'
import { followEvents } from './stream.ts'

/** After an end that came before our message was seen, the message's own execution begins within this time, or was refused. */
const NEXT_EXECUTION_MS = 10_000

export interface FollowSettings {
  api: Api
  screen: Screen
  run: RunItem
  /** Sequence of the last event that was shown already. */
  after: number
  json: boolean
  /** Id of a message that was just sent: follow up to the end of what comes of it, past an end of the run before. */
  message?: string
}

export interface Followed {
  /** The run as it is at the end of following. */
  run: RunItem
  exitCode: ExitCode
}

/** Follows until the run ends, waits for an answer that nobody here can give, or the person leaves with Ctrl-C. */
export async function follow(settings: FollowSettings): Promise<Followed> {
  const { api, screen, json } = settings
  const runId = settings.run.run_id
  const id = shortId(settings.run)
  const leave = new AbortController()
  const stop = new AbortController()
  const renderer = createRenderer(screen.style)
  const asking = new Map<string, AbortController>()
  let totals = noTotals
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
    if (!screen.interactive || json) {
      stop.abort()
      return
    }
    for (const question of now.questions) {
      if (asking.has(question.question_id)) continue
      const answered = new AbortController()
      asking.set(question.question_id, answered)
      const signal = AbortSignal.any([answered.signal, leave.signal, stop.signal])
      const withTitle = shownQuestion !== question.question_id
      const option = await ask(screen, question, { withTitle, signal, onInterrupt })
      if (option === null) continue
      await api.answer(runId, option, question.question_id).catch((error: unknown) => {
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

  const end = endOfFollowing(settings, () => stop.abort())
  try {
    if (settings.run.state === 'BLOCKED' && settings.after >= settings.run.last_event_sequence) watchBlocked()
    const events = followEvents(api, runId, {
      after: settings.after,
      always: settings.message !== undefined,
      signal: AbortSignal.any([leave.signal, stop.signal]),
      onConnection: (change) =>
        screen.note(change === 'lost' ? '(connection lost; the run goes on; reconnecting)' : '(connected again)'),
    })
    for await (const batch of events) {
      for (const event of batch) {
        show(event)
        end.saw(event)
        if (event.kind === 'state' && event.data.state === 'BLOCKED') watchBlocked()
      }
      screen.status(json ? null : renderer.running())
    }
  } finally {
    end.close()
    stop.abort()
    process.off('SIGINT', onInterrupt)
    if (!json) screen.write(renderer.end())
    screen.status(null)
  }
  if (questionFailure !== undefined) throw questionFailure

  if (interrupted) {
    screen.note(
      `\nDetached: the run goes on.\n  Follow it again:  ambient logs ${id} --follow\n  Cancel it:        ambient cancel ${id}`,
    )
    return { run: settings.run, exitCode: exitCodes.interrupted }
  }
  const run = await api.get(runId)
  if (json) screen.write(`${JSON.stringify(run)}\n`)
  else screen.write(renderSummary(run, totals, screen.style))
  return { run, exitCode: exitCodeOf(run.state) }
}

/**
 * The server closes the stream of an ended run. After a message, the old end is
 * not the one that is waited for: it is the one after the message has been seen.
 */
function endOfFollowing(settings: FollowSettings, stop: () => void) {
  let messageSeen = false
  let grace: NodeJS.Timeout | undefined
  const arm = () => {
    clearTimeout(grace)
    grace = setTimeout(stop, NEXT_EXECUTION_MS)
  }
  // A run that had ended begins anew, or something is wrong and the last state is the answer.
  if (settings.message !== undefined && isTerminal(settings.run.state)) arm()
  return {
    saw(event: RunEvent): void {
      if (settings.message === undefined) return
      if (event.kind === 'prompt' && event.data.message_id === settings.message) messageSeen = true
      if (event.kind !== 'state') return
      clearTimeout(grace)
      if (!isTerminal(event.data.state as RunState)) return
      if (messageSeen) stop()
      else arm()
    },
    close: () => clearTimeout(grace),
  }
}
