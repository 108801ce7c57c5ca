// Workflow sandbox: no Node imports, no I/O.
import { condition } from '@temporalio/workflow'
import type { Mail } from './contract.ts'

type Prompt = Extract<Mail, { kind: 'prompt' }>
type AnswerMail = Extract<Mail, { kind: 'answer' }>

/**
 * What people have sent to a run and the run has not dealt with yet. A signal
 * may be delivered twice; the second time changes nothing.
 */
export class Mailbox {
  readonly #seen = new Set<string>()
  readonly #prompts: Prompt[] = []
  readonly #answers: AnswerMail[] = []
  /** Messages that were waiting when a cancel came. */
  readonly #cancelled = new Set<string>()
  /** Why somebody wants the run to stop; null while nobody does. */
  cancelReason: string | null = null
  /** Called for each new piece of mail. */
  onMail: (mail: Mail) => void = () => {}

  receive(mail: Mail): void {
    if (this.#seen.has(mail.id)) return
    this.#seen.add(mail.id)
    if (mail.kind === 'prompt') this.#enqueue(mail)
    else if (mail.kind === 'answer') this.#answers.push(mail)
    else this.#cancel(mail.reason)
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

  /** Waits for the answer to a question; null when an interrupting message came instead. */
  async answerTo(questionId: string): Promise<AnswerMail | null> {
    const find = () => this.#answers.findIndex((answer) => answer.questionId === questionId)
    await condition(() => find() >= 0 || this.hasInterrupt)
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

  /** Waits for a message or a cancel, at most so long. True when a message is there. */
  async promptWithin(milliseconds: number): Promise<boolean> {
    const somethingCame = () => this.#prompts.length > 0 || this.cancelReason !== null
    if (milliseconds > 0) await condition(somethingCame, milliseconds)
    return this.#prompts.length > 0
  }
}
