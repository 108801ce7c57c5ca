// A request to the agent that whoever comes after us finds answered, or sends again.
import { type Journal, ProcessEndedError } from '../../domain/journal.ts'
import type { Claims } from '../claims.ts'
import { type Answer, request } from './messages.ts'
import type { JournalReader } from './reader.ts'

/** What every step of the protocol works with. */
export interface Channel {
  journal: Journal
  claims: Claims
  reader: JournalReader
  /** The agent's answers that were read so far, by request id. */
  answers: Map<string, Answered>
  /** An abort of one of these ends the wait for an answer; its reason is thrown. */
  signals: readonly AbortSignal[]
  times: CallTimes
}

export interface Answered {
  line: number
  answer: Answer
}

export interface CallTimes {
  /** Longest wait for an answer, in milliseconds. */
  answerMs: number
  /** Wait before a request is repeated that a dead predecessor may or may not have sent. */
  repeatMs: number
}

/** 90 s: on a busy machine an agent takes many seconds to start. 5 s: a repeated request costs the agent little. */
export const callTimes: CallTimes = { answerMs: 90_000, repeatMs: 5_000 }

/** The agent did not answer a request. */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError'
}

/**
 * Sends a request unless a predecessor has sent it, and waits for its answer,
 * which may be in the journal already. Only for requests that may arrive twice:
 * where it is not known whether one was sent, it is sent again.
 * @param step names the request for good within its journal.
 * @throws {ProcessEndedError} {NoAnswerError}
 */
export async function call(channel: Channel, step: string, method: string, params: object): Promise<Answered> {
  const { journal, claims, reader, answers, signals, times } = channel
  const ids: string[] = []
  for (let attempt = 1; ; attempt++) {
    const id = `${step}:${attempt}`
    ids.push(id)
    const claim = await claims.make(`${journal.name}:${id}`, { afterLine: reader.line })
    if (claim.isNew) {
      await journal.write(request(id, method, params))
      await claims.settle(`${journal.name}:${id}`)
    }
    const isSent = claim.isNew || claim.settled
    const answered = () => ids.map((each) => answers.get(each)).find((answer) => answer !== undefined)
    const within = isSent ? times.answerMs : times.repeatMs
    const reading = await reader.until(() => answered() !== undefined, { within, wakenBy: signals })
    const answer = answered()
    if (answer) return answer
    if (reading === 'woken') throw signals.find((signal) => signal.aborted)?.reason
    if (reading === 'ended') throw new ProcessEndedError(`the agent ended before it answered ${method}`)
    if (isSent) throw new NoAnswerError(`The agent did not answer ${method} within ${within / 1000} s.`)
  }
}
