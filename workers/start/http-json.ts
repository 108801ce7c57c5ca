// Small questions to servers of this machine, without fetch: loading it costs a process 14 MiB.
import http from 'node:http'
import { json } from 'node:stream/consumers'

export interface JsonAnswer {
  status: number
  body: unknown
}

/** Null while nothing answers, or not with JSON, or not in time. A body is posted; `key`: of our own API. */
export function askJson(
  url: string,
  limitMs: number,
  { body, key }: { body?: unknown; key?: string } = {},
): Promise<JsonAnswer | null> {
  const payload = body === undefined ? null : JSON.stringify(body)
  return new Promise((resolve) => {
    const request = http.request(url, {
      agent: false,
      method: payload === null ? 'GET' : 'POST',
      headers: {
        ...(payload !== null && { 'content-type': 'application/json' }),
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
      },
      signal: AbortSignal.timeout(limitMs),
    })
    request.once('error', () => resolve(null))
    request.once('response', (response) => {
      json(response).then(
        (answer) => resolve({ status: response.statusCode ?? 0, body: answer }),
        () => resolve(null),
      )
    })
    request.end(payload ?? undefined)
  })
}
