// JSON-RPC as the Agent Client Protocol writes it: one message a line.

export type RpcId = string | number

export interface RpcError {
  code: number
  message: string
  data?: unknown
}

/** The code for a request that its receiver does not know. */
export const METHOD_NOT_FOUND = -32601

export type Answer = { ok: true; result: unknown } | { ok: false; error: RpcError }

export type Message =
  | { kind: 'response'; id: RpcId; answer: Answer }
  | { kind: 'request'; id: RpcId; method: string; params: Record<string, unknown> }
  | { kind: 'notification'; method: string; params: Record<string, unknown> }
  /** A complaint about a line of ours that arrived torn. */
  | { kind: 'complaint'; error: RpcError }
  | { kind: 'blank' }
  | { kind: 'unparsable' }

export function parseMessage(text: string): Message {
  if (text.trim() === '') return { kind: 'blank' }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // A program that prints among its messages is told of, not trusted.
    return { kind: 'unparsable' }
  }
  if (!isObject(value)) return { kind: 'unparsable' }
  const { id, method } = value
  const params = isObject(value.params) ? value.params : {}
  if (typeof method === 'string') {
    return isRpcId(id) ? { kind: 'request', id, method, params } : { kind: 'notification', method, params }
  }
  if (isRpcId(id) && 'error' in value)
    return { kind: 'response', id, answer: { ok: false, error: toError(value.error) } }
  if (isRpcId(id) && 'result' in value) return { kind: 'response', id, answer: { ok: true, result: value.result } }
  if (id === null && 'error' in value) return { kind: 'complaint', error: toError(value.error) }
  return { kind: 'unparsable' }
}

export const request = (id: RpcId, method: string, params: object): string => encode({ id, method, params })

export const notification = (method: string, params: object): string => encode({ method, params })

export const response = (id: RpcId, result: object): string => encode({ id, result })

export const refusal = (id: RpcId, error: RpcError): string => encode({ id, error })

const encode = (message: object): string => `${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const isRpcId = (id: unknown): id is RpcId => typeof id === 'string' || typeof id === 'number'

function toError(value: unknown): RpcError {
  if (!isObject(value)) return { code: 0, message: String(value) }
  const { code, message, data } = value
  return {
    code: typeof code === 'number' ? code : 0,
    message: typeof message === 'string' ? message : 'no message',
    ...(data === undefined ? {} : { data }),
  }
}
