// One request to a forge's API, and what its refusals mean.
import { z } from 'zod'
import { ForgeError } from './forge.ts'

/** A forge answers in a second or is in trouble. In milliseconds. */
const TIMEOUT_MS = 20_000
/** More than any answer that is read here. */
const MOST_BYTES = 8 * 1024 * 1024
/** A repository that was renamed or moved says so; no chain of them is longer. */
const REDIRECTS = 3
/** Of what a forge says, at most this is told. */
const SAID_CHARS = 500

export interface ForgeCall {
  headers: Readonly<Record<string, string>>
  signal: AbortSignal
  /** What the forge's own words of a refusal mean; null: the status tells all. */
  meaning?: (status: number, words: string) => ForgeError | null
}

/** Sends a request, and returns the answer as the schema has it. @throws {ForgeError} */
export async function ask<T>(
  method: 'GET' | 'POST' | 'PUT',
  url: string,
  schema: z.ZodType<T>,
  { headers, signal, meaning = () => null }: ForgeCall,
  body?: unknown,
): Promise<T> {
  const response = await send(method, url, { headers, signal }, body)
  const text = await textOf(response)
  if (!response.ok) throw refusal(response, text, meaning)
  const parsed = schema.safeParse(jsonOf(text))
  if (parsed.success) return parsed.data
  throw new ForgeError('unavailable', `${hostOf(url)} answered with something else than its API says.`)
}

async function send(
  method: string,
  url: string,
  { headers, signal }: Pick<ForgeCall, 'headers' | 'signal'>,
  body: unknown,
): Promise<Response> {
  const { origin } = new URL(url)
  for (let at = url, hop = 0; ; hop += 1) {
    const response = await reach(at, {
      method,
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const location = response.headers.get('location')
    if (![301, 302, 307, 308].includes(response.status) || location === null) return response
    await response.body?.cancel()
    const next = new URL(location, at)
    // The token is for this server alone.
    if (hop === REDIRECTS || next.origin !== origin)
      throw new ForgeError('refused', `${hostOf(url)} sends the request elsewhere: the repository may have moved.`)
    at = next.href
  }
}

async function reach(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init)
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new ForgeError('unavailable', `${hostOf(url)} does not answer: ${reason}`, null, { cause: error })
  }
}

async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length
      if (bytes > MOST_BYTES) throw new ForgeError('unavailable', `${hostOf(response.url)} answered with too much.`)
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof ForgeError) throw error
    throw new ForgeError('unavailable', `${hostOf(response.url)} broke its answer off.`, null, { cause: error })
  }
  return Buffer.concat(chunks).toString()
}

function refusal(response: Response, text: string, meaning: NonNullable<ForgeCall['meaning']>): ForgeError {
  const { status } = response
  const host = hostOf(response.url)
  const words = wordsOf(jsonOf(text))
  const said = words === '' ? `${host} answered with ${status}.` : `${host} answered with ${status}: ${words}`
  const wait = waitOf(response.headers)
  if (status === 429 || (status === 403 && (wait !== null || /rate limit/i.test(words))))
    return new ForgeError('rate_limited', said, wait)
  if (status === 401) return new ForgeError('unauthorized', said)
  const meant = meaning(status, words)
  if (meant !== null) return meant
  if (status === 403) return new ForgeError('forbidden', said)
  if (status === 404) return new ForgeError('not_found', said)
  if (status >= 500 || status === 408) return new ForgeError('unavailable', said, wait)
  return new ForgeError('refused', said)
}

/** Seconds until the next request, where the forge limits them: by `Retry-After`, or by the time at which its count begins anew. */
function waitOf(headers: Headers): number | null {
  const after = headers.get('retry-after')
  if (after !== null) {
    const seconds = /^\d+$/.test(after) ? Number(after) : (Date.parse(after) - Date.now()) / 1000
    return Number.isFinite(seconds) ? Math.max(1, Math.ceil(seconds)) : null
  }
  for (const prefix of ['x-ratelimit', 'ratelimit']) {
    const reset = Number(headers.get(`${prefix}-reset`) ?? Number.NaN)
    if (headers.get(`${prefix}-remaining`) !== '0' || !Number.isFinite(reset)) continue
    return Math.max(1, Math.ceil(reset - Date.now() / 1000))
  }
  return null
}

const Said = z.looseObject({
  message: z.unknown().optional(),
  error: z.unknown().optional(),
  errors: z.unknown().optional(),
})

/** A forge's own words: GitHub's message with its errors, GitLab's message, which may be a list or an object. */
function wordsOf(body: unknown): string {
  const said = Said.safeParse(body)
  if (!said.success) return ''
  const { message, error, errors } = said.data
  const all = [message ?? error, errors].flatMap(inWords)
  return [...new Set(all)].join(' ').slice(0, SAID_CHARS)
}

function inWords(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (Array.isArray(value)) return value.flatMap(inWords)
  if (typeof value !== 'object' || value === null) return []
  if ('message' in value) return inWords(value.message)
  if ('field' in value && 'code' in value) return [`${String(value.field)}: ${String(value.code)}.`]
  return Object.entries(value).flatMap(([name, words]) => inWords(words).map((word) => `${name}: ${word}`))
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // A proxy before the forge answers with a page: the status has to do.
    return null
  }
}

const hostOf = (url: string) => URL.parse(url)?.host ?? 'The forge'
