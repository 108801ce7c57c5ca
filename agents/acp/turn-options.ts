// What a turn is given.
import type { PermissionPolicy } from '../../domain/harness.ts'
import type { Journal } from '../../domain/journal.ts'
import type { Redactor } from '../../domain/vault/redaction.ts'
import type { AcpQuirks } from '../agent.ts'
import type { Claims } from '../claims.ts'
import type { Record } from './recorder.ts'
import type { McpServers } from './session.ts'

export interface RunTurn {
  journal: Journal
  claims: Claims
  sessionId: string
  /** As the session was opened with: it may have to be loaded again. */
  cwd: string
  mcpServers?: McpServers
  quirks: AcpQuirks
  policy: PermissionPolicy
  turn: TurnMessage
  /** The journal's events are stored up to here. */
  storedLine: number
  record: Record
  /** What is kept out of the texts that the agent says piece by piece. */
  redactor?: Redactor
  signals: TurnSignals
  /** The agent has stopped after an interrupt. What is left to do may take its time: storing what it said. */
  onStopped?: () => void
  times?: TurnTimes
}

export type TurnMessage = PromptMessage | AnswerMessage

export interface PromptMessage {
  kind: 'prompt'
  messageId: string
  text: string
  /** Goes before the text, and is not part of what the person said. */
  preamble?: string | null
  /** Pictures that the agent takes within the prompt, in base64. */
  images?: readonly { mimeType: string; data: string }[]
  /** The message before this one in the same run: its turn is ended first, if nobody has seen its end. */
  previousMessageId: string | null
  /** What a person has decided meanwhile on a question of a former process. Asked again, it is answered by that, once. */
  decided?: Decision | null
}

export interface Decision {
  /** Of the question. */
  title: string
  choice: 'allow' | 'deny'
}

export interface AnswerMessage {
  kind: 'answer'
  questionId: string
  /** One of the question's options, or the word `allow` or `deny`. */
  optionId: string
}

export interface TurnSignals {
  /** People want the turn to stop: the agent is told so. */
  interrupt: AbortSignal
  /** Whoever watches goes away; the agent works on and is watched by the next caller. */
  detach: AbortSignal
}

export interface TurnTimes {
  /** How long an agent may take to stop when it is told to, in milliseconds. */
  graceMs: number
  /** How long a prompt that a dead predecessor may have sent is given to show itself, in milliseconds. */
  evidenceMs: number
}

/** 10 s: agents were seen to stop within 0.3 s. 3 s: a model's first words take a second or two. */
export const turnTimes: TurnTimes = { graceMs: 10_000, evidenceMs: 3_000 }
