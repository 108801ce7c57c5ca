// One attempt to deliver.
import { type Dispatcher, request } from 'undici'
import type { Attempt } from '../store/webhook-deliveries.ts'
import { signature } from './sign.ts'

/** A receiver that takes longer is to answer first and work afterwards. In milliseconds. */
export const ANSWER_MS = 10_000
/** Of an answer, at most this is read and kept. */
const RESPONSE_BYTES = 1_024

export interface Delivery {
  id: string
  event: string
  url: string
  body: string
  secret: string
}

/** Never throws: what went wrong is in the answer, whose `error` is null where it arrived. */
export async function send(delivery: Delivery, through: Dispatcher, closing: AbortSignal): Promise<Attempt> {
  const began = performance.now()
  const told = (attempt: Omit<Attempt, 'durationMs'>): Attempt => ({
    ...attempt,
    durationMs: Math.round(performance.now() - began),
  })
  const deadline = AbortSignal.timeout(ANSWER_MS)
  try {
    const { statusCode: status, body } = await request(delivery.url, {
      method: 'POST',
      dispatcher: through,
      signal: AbortSignal.any([deadline, closing]),
      headers: {
        'content-type': 'application/json',
        'user-agent': 'Ambient-Webhooks',
        'x-ambient-delivery': delivery.id,
        'x-ambient-event': delivery.event,
        'x-ambient-signature': signature(delivery.secret, Math.floor(Date.now() / 1000), delivery.body),
      },
      body: delivery.body,
    })
    const response = await beginningOf(body)
    return told({ status, response, error: errorOf(status) })
  } catch (error) {
    const reason = deadline.aborted ? `No answer within ${ANSWER_MS / 1000} s.` : reasonOf(error)
    return told({ status: null, response: null, error: reason })
  }
}

function errorOf(status: number): string | null {
  if (status >= 200 && status < 300) return null
  if (status >= 300 && status < 400) return `Answered with ${status}: redirects are not followed.`
  return `Answered with ${status}.`
}

/** The rest is not waited for. */
async function beginningOf(body: AsyncIterable<Uint8Array> & { destroy(): void }): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes >= RESPONSE_BYTES) break
  }
  body.destroy()
  return Buffer.concat(chunks).subarray(0, RESPONSE_BYTES).toString()
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.message || ('code' in error ? String(error.code) : error.name)
}
