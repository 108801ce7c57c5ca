// The end of a turn: how it came, and what is done before the next one may begin.
import { RunFailureError } from '../../domain/failure.ts'
import { ProcessEndedError } from '../../domain/journal.ts'
import type { TurnOutcome } from '../../workflows/contract.ts'
import { NoAnswerError } from './call.ts'
import { AgentStuckError } from './failures.ts'
import type { TurnEnd } from './follower.ts'
import { claimOfPrompt, messageIdOf, promptId } from './prompt.ts'
import { reopenSession } from './session.ts'
import type { PromptMessage, RunTurn } from './turn-options.ts'
import { createWatch, type IsEnd, type Watch } from './watch.ts'

/** Settled once everything about a message's turn is done and stored. */
const claimOfEnd = (journal: string, messageId: string): string => `${journal}:ended:${messageId}`

/** Brings a turn whose end was read to its close. */
export async function conclude(options: RunTurn, watch: Watch, end: TurnEnd): Promise<TurnOutcome> {
  const { journal, claims, quirks, sessionId, cwd, policy } = options
  if (end.stopReason === 'cancelled' && quirks.closeSessionAfterCancel) {
    watch.follower.isHistory = true
    try {
      const mcpServers = (await options.mcpServers?.()) ?? []
      await reopenSession(watch.channel, end.promptId, { sessionId, cwd, mcpServers, quirks, policy })
    } catch (error) {
      if (!(error instanceof RunFailureError || error instanceof NoAnswerError)) throw error
      throw new AgentStuckError('The agent did not open its session again after a cancel.', { cause: error })
    }
    watch.follower.isHistory = false
  }
  await watch.recorder.flush()
  const claim = claimOfEnd(journal.name, messageIdOf(end.promptId))
  await claims.make(claim, { afterLine: end.line })
  await claims.settle(claim)
  if (end.failure) return { kind: 'failed', failure: end.failure }
  return { kind: 'ended', stopReason: end.stopReason }
}

/**
 * Has the agent stop its turn.
 * @throws {AgentStuckError} when it does not in time.
 */
export async function stop(options: RunTurn, watch: Watch, isEnd: IsEnd): Promise<void> {
  const end = await watch.cancel(isEnd)
  if (end !== null) options.onStopped?.()
  await watch.recorder.flush()
  if (end === null) throw new AgentStuckError('The agent did not stop when it was told to.')
  await conclude(options, watch, end)
}

/**
 * Ends the turn of the message before this one where nobody has seen its end:
 * it was left with an open question, or whoever watched it died while it was
 * being stopped. Returns how far the journal is stored then.
 */
export async function endFormerTurn(options: RunTurn, turn: PromptMessage): Promise<number> {
  const { journal, claims, storedLine } = options
  const former = turn.previousMessageId
  if (former === null || former === turn.messageId) return storedLine
  const ended = await claims.make(claimOfEnd(journal.name, former), { afterLine: storedLine })
  if (ended.settled) return storedLine
  const sent = await claims.make(claimOfPrompt(journal.name, promptId(former, 1)), { afterLine: storedLine })
  // A message that was never sent to this process has no turn in it.
  if (sent.isNew || (await journal.exit()) !== null) {
    await claims.settle(claimOfEnd(journal.name, former))
    return storedLine
  }

  const watch = createWatch(options, sent.note.afterLine)
  const { reader } = watch.channel
  const isFormer: IsEnd = (end) => messageIdOf(end.promptId) === former
  try {
    await watch.until(() => watch.end(isFormer) !== null || reader.line >= storedLine)
    const end = watch.end(isFormer) ?? (await watch.cancel(isFormer))
    await watch.recorder.flush()
    if (end) await conclude(options, watch, end)
    // Without an answer to a prompt that may not have been sent, it was not.
    else if (sent.settled) throw new AgentStuckError('The agent did not stop when it was told to.')
    return Math.max(storedLine, reader.line)
  } catch (error) {
    // That the agent is gone is found out, and told, by what comes next.
    if (error instanceof ProcessEndedError) return storedLine
    throw error
  } finally {
    await watch.close()
  }
}
