// Which of an agent's calls cost something, and in which format they tell it.
import { anthropicReader } from './anthropic.ts'
import { anyReader } from './any.ts'
import { geminiReader } from './gemini.ts'
import { chatReader, responsesReader } from './openai.ts'
import type { UsageReader } from './reader.ts'

export interface CallKind {
  /** Nothing is charged for it, and it is not written down. */
  free: boolean
  /** False: what it costs cannot be known from here, even where its answer tells of tokens. */
  known: boolean
  /** Its body is JSON that may ask for `stream_options`. */
  isChat: boolean
  /** Of the model in the path, where that is the place for it. */
  model: string | null
  reader(): UsageReader
}

const version = String.raw`(?:/v\d+(?:alpha|beta)?\d*)?`
const path = (rest: string) => new RegExp(`^${version}(?:/openai)?${rest}$`)

const free = [
  path('/messages/count_tokens'),
  path('/moderations'),
  path('/responses/input_tokens'),
  path('/responses/[^/]+/cancel'),
  path('/(?:models|tunedModels)/[^/:]+:countTokens'),
]

const metered: readonly [RegExp, () => UsageReader][] = [
  [path('/messages'), anthropicReader],
  [path('/chat/completions'), chatReader],
  [path('/completions'), chatReader],
  [path('/embeddings'), chatReader],
  [path('/responses(?:/compact)?'), responsesReader],
  [path('/(?:models|tunedModels)/[^/:]+:(?:generateContent|streamGenerateContent)'), geminiReader],
]

/** Methods by which nothing is generated. */
const reading: readonly string[] = ['GET', 'HEAD', 'OPTIONS', 'DELETE']

/** `path`: as the provider reads it, its escapes resolved. */
export function kindOf(method: string, requestPath: string): CallKind {
  const plain = requestPath.replace(/\/{2,}/g, '/').replace(/\/$/, '')
  const model = /\/(?:models|tunedModels)\/([^/:]+):\w+$/.exec(plain)?.[1] ?? null
  const isChat = metered[1]?.[0].test(plain) === true
  const reader = metered.find(([pattern]) => pattern.test(plain))?.[1]
  const isFree = reading.includes(method) || free.some((pattern) => pattern.test(plain))
  return { free: isFree, known: reader !== undefined, isChat, model, reader: reader ?? anyReader }
}
