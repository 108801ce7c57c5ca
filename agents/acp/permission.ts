// What an agent asks before it acts, and what it is answered.
import { z } from 'zod'
import type { AgentQuestion } from '../../workflows/contract.ts'
import type { RpcId } from './messages.ts'

const Params = z.looseObject({
  sessionId: z.string(),
  toolCall: z.looseObject({ toolCallId: z.string(), title: z.string().nullish() }),
  options: z.array(z.looseObject({ optionId: z.string(), name: z.string(), kind: z.string() })),
})

/** A permission request as the agent sent it. */
export interface Permission {
  id: RpcId
  line: number
  toolCall: z.infer<typeof Params>['toolCall']
  question: AgentQuestion
}

/** Longest title of a question, in characters: it passes through workflow history. */
const TITLE_CHARS = 300

/** Agents count their requests from 0 in each process, so a question is named by its journal too. */
const questionId = (journal: string, id: RpcId): string => `${journal}:${id}`

/** Made when a question is first met, with the line before it; settled when it was answered. */
export const claimOfQuestion = (question: string): string => `question:${question}`

/** Null when the request is not one that this client understands. */
export function parsePermission(journal: string, line: number, id: RpcId, params: unknown): Permission | null {
  const parsed = Params.safeParse(params)
  if (!parsed.success) return null
  const { toolCall, options } = parsed.data
  const title = toolCall.title || 'The agent asks for permission.'
  return {
    id,
    line,
    toolCall,
    question: {
      questionId: questionId(journal, id),
      title: title.slice(0, TITLE_CHARS).toWellFormed(),
      options: options.map(({ optionId, name, kind }) => ({ optionId, name, kind })),
    },
  }
}

const allowing = ['allow_once', 'allow_always']
const rejecting = ['reject_once', 'reject_always']

/** The option that a policy, or the word `allow` or `deny`, stands for; null where the agent offers none. */
export function optionFor(permission: Permission, choice: string): string | null {
  const { options } = permission.question
  const exact = options.find((option) => option.optionId === choice)
  if (exact) return exact.optionId
  const kinds = choice === 'allow' ? allowing : choice === 'deny' ? rejecting : []
  for (const kind of kinds) {
    const option = options.find((candidate) => candidate.kind === kind)
    if (option) return option.optionId
  }
  return null
}

/** The reply to a permission request. Without an option the request counts as cancelled. */
export const reply = (optionId: string | null) => ({
  outcome: optionId === null ? { outcome: 'cancelled' } : { outcome: 'selected', optionId },
})
