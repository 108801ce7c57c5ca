// What reads the usage of one answer, format by format.
import { noTokens, type TokenUsage } from '../../../domain/models/call.ts'

/** Takes the JSON values of an answer as they come: the events of a stream, or the one body. */
export interface UsageReader {
  /** @returns `last` for what nothing follows that matters, `maybe` where it may be that. */
  read(value: unknown): 'last' | 'maybe' | 'more'
  /** What was told so far; null: nothing. */
  told(): TokenUsage | null
  /** What was told is final. */
  isFinal(): boolean
  /** Characters of text, reasoning and calls so far, to reckon with where nothing is told. */
  characters(): number
}

type Json = Record<string, unknown>

export const objectOf = (value: unknown): Json | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : null

export const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** A count of tokens; absent, or nothing that could be one: null. */
export const countOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? Math.round(value) : null

/** What is no word of a model. */
const marks: readonly string[] = ['type', 'id', 'role', 'signature', 'thoughtSignature', 'encrypted_content']

/** Characters of all that is said in it, down to some depth. */
export function charactersIn(value: unknown, depth = 6): number {
  if (typeof value === 'string') return value.length
  if (depth === 0 || typeof value !== 'object' || value === null) return 0
  const parts = Object.entries(value).filter(([name]) => !marks.includes(name))
  return parts.reduce((sum, [, part]) => sum + charactersIn(part, depth - 1), 0)
}

/** About four characters make a token. */
const CHARACTERS_TO_A_TOKEN = 4

export const reckonTokens = (characters: number): number => Math.ceil(characters / CHARACTERS_TO_A_TOKEN)

/**
 * What an answer is charged that ended before it told its usage: what it told
 * until then, its prompt by the bytes of the request where that was not told, and
 * at least what was said of output.
 */
export function reckonUsage(told: TokenUsage | null, requestBytes: number | null, characters: number): TokenUsage {
  const base = told ?? { ...noTokens, input: reckonTokens(requestBytes ?? 0) }
  return { ...base, output: Math.max(base.output, reckonTokens(characters)) }
}
