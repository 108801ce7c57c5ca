// What a turn is given. Workflow sandbox: no Node imports, no I/O.
import type { AnswerTurn, Mail, PromptTurn } from './contract.ts'

/** A turn with the last of these messages; those before it were overtaken. Null without any. */
export function promptTurn(ids: readonly string[]): PromptTurn | null {
  const messageId = ids.at(-1)
  if (messageId === undefined) return null
  const before = ids.slice(0, -1)
  return { kind: 'prompt', messageId, ...(before.length > 0 ? { before } : {}) }
}

export const answerTurn = ({ id, questionId, optionId }: Extract<Mail, { kind: 'answer' }>): AnswerTurn => ({
  kind: 'answer',
  mailId: id,
  questionId,
  optionId,
})
