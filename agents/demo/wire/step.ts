// What a model says in one answer, in neutral words.
import { randomUUID } from 'node:crypto'

export interface ToolCall {
  id: string
  name: string
  /** Named, or one text for a tool in free form. */
  arguments: Readonly<Record<string, unknown>> | string
}

export interface Usage {
  inputTokens: number
  outputTokens: number
}

export interface ModelAnswer {
  /** Thoughts that are shown before the text; empty for none. */
  thought: string
  /** In the pieces it is streamed in. May wait between them, and may throw, which cuts the connection. */
  text: Iterable<string> | AsyncIterable<string>
  calls: readonly ToolCall[]
  usage: Usage
}

export interface ModelFailure {
  status: number
  message: string
}

export type ModelStep = ModelAnswer | ModelFailure

export const isFailure = (step: ModelStep): step is ModelFailure => 'status' in step

/** An answer that has been said to its end. */
export interface WholeAnswer extends Omit<ModelAnswer, 'text'> {
  text: string
}

export async function wholeAnswer(answer: ModelAnswer): Promise<WholeAnswer> {
  let text = ''
  for await (const piece of answer.text) text += piece
  return { ...answer, text }
}

/** An id in the manner of the providers. */
export const newId = (prefix: string): string => `${prefix}_${randomUUID().replaceAll('-', '').slice(0, 24)}`
