// One call of a model, as the gateway counts it and the ledger charges it.
import type { ProviderName } from '../harness.ts'
import type { StopReason } from '../money/words.ts'

/** Tokens by how they are charged. */
export interface TokenUsage {
  /** Read anew: neither from a cache nor written to one. */
  input: number
  cacheRead: number
  cacheWrite: number
  /** Of {@link cacheWrite}, what is kept for an hour and charged higher. */
  cacheWriteHour: number
  /** Reasoning included. */
  output: number
  /** Of {@link output}. */
  reasoning: number
}

export const noTokens: TokenUsage = {
  input: 0,
  cacheRead: 0,
  cacheWrite: 0,
  cacheWriteHour: 0,
  output: 0,
  reasoning: 0,
}

/** In millionths of a US dollar, whole ones, by kind of token. */
export interface CallCost {
  input: number
  cacheRead: number
  cacheWrite: number
  output: number
}

/** A call that an agent wants to make, before it goes out. What costs nothing, such as a count of tokens, is none. */
export interface ModelCallStart {
  /** UUID of its row in `model_calls`. */
  id: string
  provider: ProviderName
  /** The uid of the team's own endpoint that it goes to, or of the secret that is its key; null: the server's. */
  endpoint: string | null
  /** As the request names it; null: the request names none. */
  model: string | null
  method: string
  path: string
  /** False: a path of the provider that is not known here, so that what it costs may not be told by its answer. */
  known: boolean
  /** Whether there is a price for it. Without one it costs nothing here, whatever the provider charges. */
  priced: boolean
  /** Nothing is charged for it: a scripted model answers. */
  free: boolean
  /** Of the request's body as far as it is known; null: not said. */
  requestBytes: number | null
}

/** How a call ended. */
export interface ModelCallEnd {
  /** Of the provider's answer; null when it gave none. */
  status: number | null
  /** False: the agent went away, or the provider broke off, before the answer was whole. */
  complete: boolean
  /** Null: the answer told nothing of tokens, as that of a refused request. */
  usage: TokenUsage | null
  /** Something in {@link usage} is reckoned from bytes: the answer ended before it told. */
  estimated: boolean
}

/** What is charged: `broken` calls are those of a gateway that died in the middle of them. */
export interface SettledCall extends ModelCallEnd {
  id: string
  runId: string
  execution: number
  team: string
  provider: ProviderName
  endpoint: string | null
  model: string | null
  state: 'settled' | 'broken'
  /** Null: the price or the usage is unknown. */
  cost: CallCost | null
  startedAt: Date
  endedAt: Date
}

/**
 * Why a call is not passed on. `not_allowed` is answered with 400, `budget` with
 * 402 and `unavailable` with 503, in the provider's own shape; only the last makes
 * agents try again.
 */
export interface CallRefusal {
  kind: 'not_allowed' | 'budget' | 'unavailable'
  /** For those who count them. */
  reason: 'rules' | 'unpriced' | StopReason
  message: string
}

export const totalCost = (cost: CallCost): number => cost.input + cost.cacheRead + cost.cacheWrite + cost.output
