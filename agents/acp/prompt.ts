// Gives a prompt to the agent, at most once: agents carry out a repeated prompt twice.
import { ProcessEndedError } from '../../domain/journal.ts'
import type { ClaimNote } from '../claims.ts'
import { newEvent, PART } from './events.ts'
import { PROMPT_ID } from './follower.ts'
import { request } from './messages.ts'
import { type PromptMessage, type RunTurn, turnTimes } from './turn-options.ts'
import type { Watch } from './watch.ts'

/** The request's id. It tells the message, and which attempt at giving it this is. */
export const promptId = (messageId: string, attempt: number): string => `${PROMPT_ID}${messageId}:${attempt}`

export const messageIdOf = (id: string): string => id.slice(PROMPT_ID.length, id.lastIndexOf(':'))

export const claimOfPrompt = (journal: string, id: string): string => `${journal}:${id}`

interface Claim {
  isNew: boolean
  settled: boolean
  note: ClaimNote
}

/**
 * Sends the prompt, or finds that a predecessor has sent it. Returns the id of
 * the request whose answer ends the turn.
 * @param claim the claim of the first attempt, as it was made or found.
 */
export async function deliver(options: RunTurn, watch: Watch, turn: PromptMessage, claim: Claim): Promise<string> {
  const { journal, claims, sessionId } = options
  if (claim.isNew) options.signals.interrupt.throwIfAborted()
  // Told first, so that it stands before whatever the agent has said to it already.
  const happening = { kind: 'prompt', data: { message_id: turn.messageId, text: turn.text } } as const
  watch.recorder.addNote([newEvent(claim.note.afterLine, PART.prompt, happening)])
  for (let attempt = 1; ; attempt++) {
    const id = promptId(turn.messageId, attempt)
    if (claim.isNew) {
      const prompt = [
        { type: 'text', text: turn.preamble ? `${turn.preamble}\n\n${turn.text}` : turn.text },
        ...(turn.images ?? []).map((image) => ({ type: 'image', ...image })),
      ]
      await journal.write(request(id, 'session/prompt', { sessionId, prompt }))
      await claims.settle(claimOfPrompt(journal.name, id))
    }
    if (claim.isNew || claim.settled || (await wasDelivered(options, watch, id, claim.note.afterLine))) return id
    const next = claimOfPrompt(journal.name, promptId(turn.messageId, attempt + 1))
    options.signals.interrupt.throwIfAborted()
    claim = await claims.make(next, { afterLine: watch.channel.reader.line })
  }
}

/**
 * A predecessor meant to send this prompt and died before it noted that it had.
 * The agent's output tells: where it has begun to work, it got the prompt. Where
 * it has not, whatever it may still have got is cancelled, so that the prompt
 * can be sent again. The verdict is lasting: whoever comes later finds the same.
 */
async function wasDelivered(options: RunTurn, watch: Watch, id: string, afterLine: number): Promise<boolean> {
  const { journal, claims } = options
  const { evidenceMs } = options.times ?? turnTimes
  const { reader } = watch.channel
  const hasWorked = (upTo: number) => watch.follower.signsOfWork.some((line) => line > afterLine && line <= upTo)

  const reading = await watch.until(() => hasWorked(Number.POSITIVE_INFINITY), evidenceMs)
  options.signals.detach.throwIfAborted()
  watch.recorder.failed.throwIfAborted()
  if (reading === 'ended') throw new ProcessEndedError('the agent ended')

  const claim = `${claimOfPrompt(journal.name, id)}:verdict`
  const verdict = await claims.make(claim, { afterLine: reader.line })
  await watch.until(() => reader.line >= verdict.note.afterLine)
  if (hasWorked(verdict.note.afterLine)) {
    await claims.settle(claimOfPrompt(journal.name, id))
    return true
  }
  if (!verdict.settled) {
    await watch.cancel((end) => end.promptId === id)
    await claims.settle(claim)
  }
  return false
}
