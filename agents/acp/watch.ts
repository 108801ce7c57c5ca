// Watches an agent at work: reads on, stores what it says, and answers what can be answered without a person.
import { ProcessEndedError } from '../../domain/journal.ts'
import type { AgentQuestion } from '../../workflows/contract.ts'
import type { CallTimes, Channel } from './call.ts'
import { createFollower, type Follower, type TurnEnd } from './follower.ts'
import { METHOD_NOT_FOUND, notification, refusal, response } from './messages.ts'
import { claimOfQuestion, optionFor, type Permission, reply } from './permission.ts'
import { createReader, type Reading } from './reader.ts'
import { createRecorder, type Recorder } from './recorder.ts'
import { type RunTurn, turnTimes } from './turn-options.ts'

export type IsEnd = (end: TurnEnd) => boolean

export interface Watch {
  readonly channel: Channel
  readonly follower: Follower
  readonly recorder: Recorder
  /** Reads on until `done`, for at most `within` milliseconds. An interrupt wakes it. */
  until(done: () => boolean, within?: number): Promise<Reading>
  /** The end of the turn, once it was read. */
  end(isEnd: IsEnd): TurnEnd | null
  /** The agent waits for an answer to something. */
  hasRequests(): boolean
  /** Answers every request that the policy or the person's answer decides. Returns the first that is left for a person. */
  answerRequests(): Promise<AgentQuestion | null>
  /** Tells the agent to stop, and reads on to the turn's end; null when it does not come in time. */
  cancel(isEnd: IsEnd): Promise<TurnEnd | null>
  close(): Promise<void>
}

/** A session is opened again in half a second. An agent that takes much longer is better started anew. */
const reopenTimes: CallTimes = { answerMs: 5_000, repeatMs: 1_000 }

/** Reads the journal from `after`, and stores what is beyond `options.storedLine`. */
export function createWatch(options: RunTurn, after: number): Watch {
  const { journal, claims, sessionId, policy, turn, signals } = options
  const { graceMs } = options.times ?? turnTimes
  const recorder = createRecorder({
    journal: journal.name,
    storedLine: options.storedLine,
    record: options.record,
    redactor: options.redactor,
  })
  const follower = createFollower({
    journal,
    sessionId,
    quirks: options.quirks,
    policy,
    turn,
    recorder,
    redactor: options.redactor,
  })
  const reader = createReader(journal, after, async (line) => {
    follower.onLine(line)
    await recorder.room()
  })
  const gone = [signals.detach, recorder.failed]
  const channel: Channel = { journal, claims, reader, answers: follower.answers, signals: gone, times: reopenTimes }

  return {
    channel,
    follower,
    recorder,
    until: (done, within) => read(done, [signals.interrupt, ...gone], within),
    end: (isEnd) => follower.ends.find(isEnd) ?? null,
    hasRequests: () => follower.permissions.size > 0 || follower.foreign.length > 0,
    async answerRequests() {
      await refuseForeign()
      let open: AgentQuestion | null = null
      for (const permission of follower.permissions.values()) {
        if (!(await answer(permission))) open ??= permission.question
      }
      return open
    },
    async cancel(isEnd) {
      await journal.write(notification('session/cancel', { sessionId }))
      const deadline = Date.now() + graceMs
      const end = () => follower.ends.find(isEnd) ?? null
      while (end() === null && Date.now() < deadline) {
        await refuseForeign()
        // Gemini CLI does not stop before its open requests are answered.
        for (const permission of follower.permissions.values()) await send(permission, null)
        const isAsked = () => follower.permissions.size > 0 || follower.foreign.length > 0
        const reading = await read(() => end() !== null || isAsked(), gone, deadline - Date.now())
        if (reading === 'ended') throw new ProcessEndedError('the agent ended')
        for (const signal of gone) signal.throwIfAborted()
      }
      return end()
    },
    close: () => reader.close(),
  }

  function read(done: () => boolean, wakenBy: AbortSignal[], within: number | undefined): Promise<Reading> {
    return reader.until(done, within === undefined ? { wakenBy } : { wakenBy, within })
  }

  /** False when only a person can decide, and has not yet. */
  async function answer(permission: Permission): Promise<boolean> {
    const { question, line } = permission
    const claim = await claims.make(claimOfQuestion(question.questionId), { afterLine: line - 1 })
    if (claim.settled) follower.permissions.delete(permission.id)
    else if (permission.choice === 'ask') return false
    else await send(permission, optionFor(permission, permission.choice))
    return true
  }

  async function send(permission: Permission, optionId: string | null): Promise<void> {
    await journal.write(response(permission.id, reply(optionId)))
    follower.permissions.delete(permission.id)
    const claim = claimOfQuestion(permission.question.questionId)
    await claims.make(claim, { afterLine: permission.line - 1 })
    await claims.settle(claim)
  }

  /** An agent that asks for what was never offered gets a plain no, so that it does not wait. */
  async function refuseForeign(): Promise<void> {
    for (const id of follower.foreign.splice(0)) {
      await journal.write(refusal(id, { code: METHOD_NOT_FOUND, message: 'Method not found' }))
    }
  }
}
