// Workflow sandbox: no Node imports, no I/O.
import { condition } from '@temporalio/workflow'
import type { Mail, MailboxState } from './contract.ts'

type Prompt = Extract<Mail, { kind: 'prompt' }>
type AnswerMail = Extract<Mail, { kind: 'answer' }>

/** Ids that are handed on to a workflow that continues this one: a second delivery follows the first closely. */
const SEEN = 500

/**
 * What people have sent to a run and the run has not dealt with yet. A signal
 * may be delivered twice; the second time changes nothing.
 */
export class Mailbox {
  readonly #seen: Set<string>
  readonly #prompts: Prompt[]
  readonly #answers: AnswerMail[]
  /** Messages that were waiting when a cancel came. */
  readonly #cancelled: Set<string>
  /** The newest execution that has been let in, and the newest whose kept sandbox others wait for. */
  #admitted: number
  #toRelease: number
  /** Why somebody wants the run to stop; null while nobody does. */
  cancelReason: string | null
  /** Pieces of mail that this workflow was sent. */
  received = 0
  /** Called for each new piece of mail. */
  onMail: (mail: Mail) => void = () => {}

  constructor(former?: MailboxState) {
    this.#seen = new Set(former?.seen)
    this.#prompts = [...(former?.prompts ?? [])]
    this.#answers = [...(former?.answers ?? [])]
    this.#cancelled = new Set(former?.cancelled)
    this.#admitted = former?.admitted ?? 0
    this.#toRelease = former?.toRelease ?? 0
    this.cancelReason = former?.cancelReason ?? null
  }

  /** For the workflow that continues this one. */
  get state(): MailboxState {
    return {
      prompts: this.#prompts,
      answers: this.#answers,
      cancelled: [...this.#cancelled],
      cancelReason: this.cancelReason,
      admitted: this.#admitted,
      toRelease: this.#toRelease,
      seen: [...this.#seen].slice(-SEEN),
    }
  }

  receive(mail: Mail): void {
    this.received += 1
    if (this.#seen.has(mail.id)) return
    this.#seen.add(mail.id)
    if (mail.kind === 'prompt') this.#enqueue(mail)
    else if (mail.kind === 'answer') this.#answers.push(mail)
    else if (mail.kind === 'admit') this.#admitted = Math.max(this.#admitted, mail.execution)
    else if (mail.kind === 'release') this.#toRelease = Math.max(this.#toRelease, mail.execution)
    else if (mail.kind === 'cancel') this.#cancel(mail.reason)
    this.onMail(mail)
  }

  /** A cancel is for what was asked before it, not for what is asked afterwards. */
  #cancel(reason: string): void {
    this.cancelReason ??= reason
    for (const { id } of this.#prompts) this.#cancelled.add(id)
  }

  /** An interrupting message goes before those that wait for their turn. */
  #enqueue(prompt: Prompt): void {
    if (prompt.delivery === 'queue') {
      this.#prompts.push(prompt)
      return
    }
    const firstWaiting = this.#prompts.findIndex((other) => other.delivery === 'queue')
    this.#prompts.splice(firstWaiting < 0 ? this.#prompts.length : firstWaiting, 0, prompt)
  }

  get promptIds(): string[] {
    return this.#prompts.map((prompt) => prompt.id)
  }

  /** A person wants the running turn interrupted for a message. */
  get hasInterrupt(): boolean {
    return this.#prompts.some((prompt) => prompt.delivery === 'interrupt')
  }

  takePrompt(): Prompt | null {
    return this.#prompts.shift() ?? null
  }

  /** Waits for a message; false when the time has passed without one. */
  async prompt(milliseconds?: number): Promise<boolean> {
    const somethingCame = () => this.#prompts.length > 0
    if (milliseconds === undefined) await condition(somethingCame)
    else await condition(somethingCame, milliseconds)
    return somethingCame()
  }

  /** Waits for the answer to a question; null when an interrupting message came instead, `late` when the time passed. */
  async answerTo(questionId: string, milliseconds?: number): Promise<AnswerMail | 'late' | null> {
    const find = () => this.#answers.findIndex((answer) => answer.questionId === questionId)
    const somethingCame = () => find() >= 0 || this.hasInterrupt
    if (milliseconds === undefined) await condition(somethingCame)
    else if (!(await condition(somethingCame, milliseconds))) return 'late'
    const at = find()
    return at >= 0 ? (this.#answers.splice(at, 1)[0] ?? null) : null
  }

  /** Takes messages unread, because the execution they were meant for is over: after a cancel, those that came before it. */
  takeUnread(): string[] {
    const ids = this.promptIds.filter((id) => this.cancelReason === null || this.#cancelled.has(id))
    this.forget(ids)
    this.cancelReason = null
    return ids
  }

  forget(ids: readonly string[]): void {
    const kept = this.#prompts.filter((prompt) => !ids.includes(prompt.id))
    this.#prompts.splice(0, this.#prompts.length, ...kept)
  }

  /** A cancel that came when there was nothing left to cancel means none of the messages that followed it. */
  forgetLateCancel(): void {
    if (!this.#prompts.some(({ id }) => this.#cancelled.has(id))) this.cancelReason = null
  }

  /** Waits in line until the execution is let in. */
  async admission(execution: number): Promise<void> {
    await condition(() => this.#admitted >= execution)
  }

  /**
   * Waits for a message, a cancel, or the word that others need what this
   * execution keeps; at most so long. True when a message is there.
   */
  async promptWithin(milliseconds: number, execution: number): Promise<boolean> {
    const somethingCame = () => this.#prompts.length > 0 || this.cancelReason !== null || this.#toRelease >= execution
    if (milliseconds > 0) await condition(somethingCame, milliseconds)
    return this.#prompts.length > 0
  }
}
