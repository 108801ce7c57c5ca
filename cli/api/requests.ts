// How the command line asks the server: knows nothing but URLs, JSON and problems.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import packageJson from '../../package.json' with { type: 'json' }
import { CliError, type ExitCode, exitCodes, type Problem } from '../exit.ts'

/** A request that is neither a stream nor a bundle is answered within a second; a server that takes longer is not well. */
const REQUEST_TIMEOUT_MS = 30_000
/** Pauses before a request is sent again that a server in trouble dropped. */
const RETRY_PAUSES_MS = [300, 1_000]
/** A server that has answered before and now refuses connections is being restarted. */
const RESTART_PAUSES_MS = [300, 1_000, 2_000, 4_000, 8_000]

export interface ApiOptions {
  url: string
  key: string
  /** Uid of the team that is spoken of; unset: the server picks it. */
  team?: string | undefined
  unreachableHint: string
}

/** All but `once` are sent again where a repeat is harmless. */
export interface Requests {
  /** Made a single time, where a repeat is no harmless thing. */
  once(url: string, init?: RequestInit): Promise<Response>
  steady(url: string, init?: () => RequestInit): Promise<Response>
  /** By an idempotency key. */
  post(url: string, body?: unknown): Promise<Response>
  put<T>(url: string, body: unknown): Promise<T>
  patch<T>(url: string, body: unknown): Promise<T>
  remove(url: string): Promise<void>
  json<T>(response: Promise<Response>): Promise<T>
}

export const sending = (method: string, body: unknown) => ({
  method,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
})

export function createRequests(options: ApiOptions): Requests {
  const headers = {
    authorization: `Bearer ${options.key}`,
    'user-agent': `ambient-cli/${packageJson.version}`,
    'x-oz-api-source': 'CLI',
    ...(options.team !== undefined && { 'x-warp-team-uid': options.team }),
  }

  let hasAnswered = false

  async function once(url: string, init: RequestInit = {}): Promise<Response> {
    const signal = init.signal ?? AbortSignal.timeout(REQUEST_TIMEOUT_MS)
    let response: Response
    try {
      response = await fetch(url, { ...init, signal, headers: { ...headers, ...(init.headers as object) } })
    } catch (error) {
      if (init.signal?.aborted && (init.signal.reason as Error | undefined)?.name !== 'TimeoutError') throw error
      throw unreachable(options.url, error, options.unreachableHint)
    }
    hasAnswered = true
    if (response.ok) return response
    throw await refused(response)
  }

  /** Sent again where a repeat is harmless: a GET, or a POST that carries an idempotency key. */
  async function steady(url: string, init: () => RequestInit = () => ({})): Promise<Response> {
    for (const pause of hasAnswered ? RESTART_PAUSES_MS : RETRY_PAUSES_MS) {
      try {
        return await once(url, init())
      } catch (error) {
        if (!(error instanceof CliError)) throw error
        const restarting = hasAnswered && error.exitCode === exitCodes.unreachable
        if (!restarting && !error.problem.retryable) throw error
        await delay(pause)
      }
    }
    return once(url, init())
  }

  async function json<T>(response: Promise<Response>): Promise<T> {
    const answer = await response
    try {
      return (await answer.json()) as T
    } catch (error) {
      throw new CliError(exitCodes.error, `What answers at ${options.url} is not an Ambient server.`, {
        hint: 'AMBIENT_URL and AMBIENT_PORT say where the server is looked for.',
        cause: error,
      })
    }
  }

  const post = (url: string, body?: unknown): Promise<Response> => {
    const key = randomUUID()
    const { headers, ...init } = sending('POST', body ?? {})
    return steady(url, () => ({ ...init, headers: { ...headers, 'idempotency-key': key } }))
  }

  return {
    once,
    steady,
    post,
    json,
    put: (url, body) => json(steady(url, () => sending('PUT', body))),
    patch: (url, body) => json(steady(url, () => sending('PATCH', body))),
    remove: async (url) => void (await steady(url, () => ({ method: 'DELETE' }))),
  }
}

function unreachable(url: string, error: unknown, hint: string): CliError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = (cause as NodeJS.ErrnoException).code
  const timedOut = (error as Error).name === 'TimeoutError'
  const reason = timedOut
    ? 'no answer in time'
    : code === 'ECONNREFUSED'
      ? 'connection refused'
      : (code ?? String((cause as Error).message))
  return new CliError(exitCodes.unreachable, `No Ambient server answers at ${url} (${reason}).`, {
    hint,
    // Refused means that nobody listens: waiting a second does not help, and the person should know at once.
    problem: {
      title: 'Server unreachable',
      detail: reason,
      error: 'unreachable',
      retryable: code === 'ECONNRESET' || code === 'UND_ERR_SOCKET',
    },
    cause: error,
  })
}

async function refused(response: Response): Promise<CliError> {
  const problem = await readProblem(response)
  const message = [problem.title, problem.detail]
    .filter((part, index, all) => part && all.indexOf(part) === index)
    .join(': ')
  return new CliError(exitCodeOfStatus(response.status), message, {
    hint:
      response.status === 401
        ? 'AMBIENT_API_KEY, or the admin key in the data directory, is not the server’s.'
        : undefined,
    problem,
  })
}

async function readProblem(response: Response): Promise<Problem> {
  const text = await response.text().catch(() => '')
  try {
    const body: unknown = JSON.parse(text)
    if (typeof body === 'object' && body !== null && 'title' in body)
      return { ...(body as Problem), status: response.status }
  } catch {
    // Not JSON: a proxy's page, or another program's; the status line is all that can be said.
  }
  return {
    title: `The server answered ${response.status} ${response.statusText}`.trim(),
    status: response.status,
    retryable: response.status === 502 || response.status === 503,
  }
}

function exitCodeOfStatus(status: number): ExitCode {
  if (status === 401 || status === 403) return exitCodes.unauthorised
  return status >= 500 || status === 429 ? exitCodes.error : exitCodes.usage
}
