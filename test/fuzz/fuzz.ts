// Sends a server what its own document says can be sent, and what it does not say, and holds each answer to it.
import fc from 'fast-check'
import { BASE, openApiDocument } from '../../api/openapi/document.ts'
import { sections } from '../../api/openapi/index.ts'
import { version } from '../../config.ts'
import type { TestApi, TestApiOptions } from '../support/api.ts'
import { startApiWithTemporal } from '../support/api-with-temporal.ts'
import { holdToDocument } from '../support/contract.ts'
import { givenHost } from '../support/runs.ts'
import { type FuzzRequest, requestsOf } from './requests.ts'

export interface FuzzReport {
  requests: number
  /** How often each answer came: `POST /agent/runs 200`. */
  answers: Map<string, number>
}

/** A server with a host that does nothing, and no limit to wrong keys. */
export async function startServerToFuzz(options: Pick<TestApiOptions, 'databaseUrl'> = {}): Promise<TestApi> {
  const api = await startApiWithTemporal({ ...options, env: { AMBIENT_WRONG_KEYS: '0' } })
  await givenHost(api.db, { id: 'machine-1' })
  return api
}

/** Longest time for an answer. */
const ANSWER_MS = 20_000

/** @throws with the request that shows it, made as small as possible, when an answer is not as the document says, or is of 500 or more. */
export async function fuzz(
  api: TestApi,
  { seed, requests = Number.MAX_SAFE_INTEGER, seconds }: { seed: number; requests?: number; seconds?: number },
): Promise<FuzzReport> {
  const document = openApiDocument(sections, version)
  const report: FuzzReport = { requests: 0, answers: new Map() }
  /** Ids that answers have named, by the path that they came from. */
  const known = new Map<string, Set<string>>()

  await fc.assert(
    fc.asyncProperty(requestsOf(document, api.key), async (request) => {
      const { status, body } = await send(request)
      report.requests += 1
      const route = `${request.method} ${request.path.slice(BASE.length)} ${status}`
      report.answers.set(route, (report.answers.get(route) ?? 0) + 1)
      if (status >= 400) return
      const ids = known.get(request.path) ?? new Set<string>()
      for (const id of idsIn(body)) ids.add(id)
      known.set(request.path, ids)
    }),
    {
      seed,
      numRuns: requests,
      markInterruptAsFailure: false,
      ...(seconds !== undefined && { interruptAfterTimeLimit: seconds * 1_000 }),
    },
  )
  return report

  async function send(request: FuzzRequest): Promise<{ status: number; body: unknown }> {
    const { method, query, headers, body } = request
    const path = request.path.replaceAll(/\{(\w+)\}/g, (_, name: string, at: number) => {
      const choice = request.parameters[name] ?? { known: 0 }
      const ids = newestIds(request.path.slice(0, at - 1))
      return encodeURIComponent('text' in choice ? choice.text : (ids[choice.known % ids.length] ?? 'none'))
    })
    const target = query.length > 0 ? `${path}?${new URLSearchParams(query)}` : path
    const response = await fetch(`${api.url}${target}`, {
      method,
      headers,
      redirect: 'manual',
      signal: AbortSignal.timeout(ANSWER_MS),
      ...(body !== null && { body }),
    })
    const type = response.headers.get('content-type')
    const text = await response.text()
    const answered: unknown = type?.includes('json') ? JSON.parse(text) : text
    if (response.status >= 500) throw new Error(`${method} ${target} → ${response.status}: ${text}`)
    holdToDocument({ method, target: new URL(response.url).pathname, status: response.status, type, body: answered })
    return { status: response.status, body: answered }
  }

  /** Of the collection; the oldest of them may be gone. */
  function newestIds(collection: string): string[] {
    return [...known].flatMap(([path, ids]) => (path.startsWith(collection) ? [...ids].slice(-20) : []))
  }
}

/** What later requests can name. */
function* idsIn(value: unknown): Generator<string> {
  if (value === null || typeof value !== 'object') return
  for (const [key, inner] of Object.entries(value)) {
    if (typeof inner === 'string' && /(^|_)(id|uid|uuid)$/.test(key)) yield inner
    else yield* idsIn(inner)
  }
}
