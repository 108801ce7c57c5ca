// One turn of an agent: a message or an answer goes in, events come out, until the agent has ended or asks.
import { ProcessEndedError } from '../../domain/journal.ts'
import type { TurnOutcome } from '../../workflows/contract.ts'
import { conclude, endFormerTurn, stop } from './ending.ts'
import { failureOfExit, lostQuestion } from './failures.ts'
import { claimOfQuestion } from './permission.ts'
import { claimOfPrompt, deliver, promptId } from './prompt.ts'
import type { RunTurn } from './turn-options.ts'
import { createWatch, type IsEnd, type Watch } from './watch.ts'

/** Longest wait for what a dead process has left to be read, in milliseconds. */
const DRAIN_MS = 5_000

/**
 * Gives the agent a message, or a person's answer, and follows it until its turn
 * ends or it asks what only a person can decide. May be called again after any
 * death, with the same arguments: a prompt is sent at most once, an answer at
 * least once.
 *
 * An interrupt is passed on to the agent, and its reason thrown once the agent
 * has stopped; a detach throws its reason at once.
 * @throws {AgentStuckError} when the agent does not stop: it has to be ended from outside.
 */
export async function runTurn(options: RunTurn): Promise<TurnOutcome> {
  const { journal, claims, turn } = options
  if (turn.kind === 'answer') {
    const asked = await claims.make(claimOfQuestion(turn.questionId), { afterLine: 0 })
    if (asked.isNew || !turn.questionId.startsWith(`${journal.name}:`)) return { kind: 'failed', failure: lostQuestion }
    return await watching(options, asked.note.afterLine, (watch) => follow(options, watch, () => true))
  }
  const storedLine = await endFormerTurn(options, turn)
  const claim = await claims.make(claimOfPrompt(journal.name, promptId(turn.messageId, 1)), { afterLine: storedLine })
  return await watching({ ...options, storedLine }, claim.note.afterLine, async (watch) => {
    const id = await deliver(options, watch, turn, claim)
    return await follow(options, watch, (end) => end.promptId === id)
  })
}

/** Reads on until the turn has ended or a person has to decide. */
async function follow(options: RunTurn, watch: Watch, isEnd: IsEnd): Promise<TurnOutcome> {
  const { interrupt, detach } = options.signals
  for (;;) {
    let reading = await watch.until(() => watch.end(isEnd) !== null || watch.hasRequests())
    if (reading === 'woken') {
      detach.throwIfAborted()
      watch.recorder.failed.throwIfAborted()
      await stop(options, watch, isEnd)
      throw interrupt.reason
    }
    // A question may have been withdrawn by what was said since.
    if (reading === 'done') reading = await watch.until(() => watch.end(isEnd) !== null, 0)
    const end = watch.end(isEnd)
    if (end) return await conclude(options, watch, end)
    if (reading === 'ended') throw new ProcessEndedError('the agent ended')
    const question = await watch.answerRequests()
    if (question === null) continue
    await watch.recorder.flush()
    return { kind: 'question', question }
  }
}

/** Watches while `work` lasts. An agent whose process ends in the middle of it is a failure of the run. */
async function watching(
  options: RunTurn,
  after: number,
  work: (watch: Watch) => Promise<TurnOutcome>,
): Promise<TurnOutcome> {
  const watch = createWatch(options, after)
  try {
    return await work(watch)
  } catch (error) {
    if (!(error instanceof ProcessEndedError)) throw error
    await watch.until(() => false, DRAIN_MS)
    await watch.recorder.flush()
    options.signals.interrupt.throwIfAborted()
    return { kind: 'failed', failure: await failureOfExit(options.journal, 'turn') }
  } finally {
    await watch.close()
  }
}
