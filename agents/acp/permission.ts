// What an agent asks before it acts, and what it is answered.
import { z } from 'zod'
import { TOOLS_SERVER, tellingTools } from '../../domain/tools.ts'
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
  /** What is to be decided, whole: it may be a command of many lines. */
  title: string
  question: AgentQuestion
  /** An option, or a word for one, or `ask` while only a person can decide. */
  choice: string
}

/** Longest title of a question, in characters, where it passes through workflow history. Readers get the whole one from its event. */
const TITLE_CHARS = 300

/** Agents count their requests from 0 in each process, so a question is named by its journal too. */
const questionId = (journal: string, id: RpcId): string => `${journal}:${id}`

/** Made when a question is first met, with the line before it; settled when it was answered. */
export const claimOfQuestion = (question: string): string => `question:${question}`

/**
 * Null when the request is not one that this client understands. `known` tells
 * what the agent has said of a tool call before: some ask by its id alone.
 */
export function parsePermission(
  journal: string,
  line: number,
  id: RpcId,
  params: unknown,
  known: (toolCallId: string) => Record<string, unknown>,
): Permission | null {
  const parsed = Params.safeParse(params)
  if (!parsed.success) return null
  const { options } = parsed.data
  const toolCall = { ...known(parsed.data.toolCall.toolCallId), ...given(parsed.data.toolCall) }
  const title = typeof toolCall.title === 'string' && toolCall.title ? toolCall.title : 'The agent asks for permission.'
  return {
    id,
    line,
    toolCall,
    title,
    choice: 'ask',
    question: {
      questionId: questionId(journal, id),
      title: title.length <= TITLE_CHARS ? title : `${title.slice(0, TITLE_CHARS - 1).toWellFormed()}…`,
      options: options.map(({ optionId, name, kind }) => ({ optionId, name, kind })),
    },
  }
}

/** A field that is null, or an empty list, says nothing. */
const given = <T extends object>(fields: T): T =>
  Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== null && !(Array.isArray(value) && value.length === 0)),
  ) as T

/**
 * Whether this is a tool of ours that only tells, by the names that agents give
 * it. As a command, none of these would be more than the name of a program.
 */
export const isTelling = (title: string): boolean =>
  tellingTools.some((name) =>
    [
      `mcp__${TOOLS_SERVER}__${name}`,
      `mcp.${TOOLS_SERVER}.${name}`,
      `${name} (${TOOLS_SERVER} MCP Server)`,
      `${TOOLS_SERVER}_${name}`,
    ].includes(title),
  )

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
