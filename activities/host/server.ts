// Runs on the worker that holds the sandbox. What a host asks of the server, over HTTP.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Agent, request } from 'undici'
import type { z } from 'zod'
import {
  type AppendEvents,
  ExecutionOrder,
  HOST_API,
  type HostReport,
  JournalPosition,
  MessageText,
  RunCredential,
  type RunResult,
  SweepAnswer,
} from '../../domain/host-api.ts'

/** The server refuses this host's execution: a newer one has taken the run over. */
export class FencedError extends Error {
  override readonly name = 'FencedError'
}

/** The server refused a request for good. */
export class ServerRefusal extends Error {
  override readonly name = 'ServerRefusal'
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export interface HostServer {
  report(hostId: string, report: z.input<typeof HostReport>, signal: AbortSignal): Promise<void>
  sweep(hostId: string, runIds: string[], signal: AbortSignal): Promise<string[]>
  order(runId: string, execution: number, signal: AbortSignal): Promise<ExecutionOrder>
  message(runId: string, messageId: string, signal: AbortSignal): Promise<string>
  credential(runId: string, execution: number, signal: AbortSignal): Promise<string>
  append(runId: string, execution: number, batch: z.input<typeof AppendEvents>, signal: AbortSignal): Promise<number>
  position(runId: string, journal: string, signal: AbortSignal): Promise<number>
  result(runId: string, execution: number, result: RunResult, signal: AbortSignal): Promise<void>
}

/** Pauses between tries while the server does not answer, in milliseconds; the last one repeats. */
const PAUSES = [50, 100, 200, 400, 800, 1500]

/**
 * A client that outlasts the server's restarts: a request is sent again until
 * it is answered or its signal aborts. Every route is safe to repeat.
 */
export function createHostServer(options: { url: string; key: string; log: Logger }): HostServer {
  // Idle connections are dropped by a restarting server; a short keep-alive keeps stale sockets rare.
  const agent = new Agent({ keepAliveTimeout: 4_000, connections: 32 })
  const base = `${options.url}${HOST_API}`

  async function call(
    method: 'GET' | 'PUT' | 'POST',
    path: string,
    signal: AbortSignal,
    body?: unknown,
  ): Promise<unknown> {
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted()
      const answer = await once(method, path, signal, body).catch((error: unknown) => {
        signal.throwIfAborted()
        return error instanceof Error ? error : new Error(String(error))
      })
      if (!(answer instanceof Error)) return answer.value
      if (answer instanceof FencedError || answer instanceof ServerRefusal) throw answer
      if (attempt === 3) options.log.warn({ path, reason: answer.message }, 'the server does not answer; trying on')
      await sleep(PAUSES[Math.min(attempt, PAUSES.length - 1)], undefined, { signal })
    }
  }

  async function once(method: 'GET' | 'PUT' | 'POST', path: string, signal: AbortSignal, body: unknown) {
    const response = await request(`${base}${path}`, {
      method,
      dispatcher: agent,
      signal,
      headers: {
        authorization: `Bearer ${options.key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    })
    const text = await response.body.text()
    if (response.statusCode < 300) return { value: text === '' ? null : (JSON.parse(text) as unknown) }
    if (response.statusCode === 409) throw new FencedError(text)
    if (response.statusCode >= 500 || response.statusCode === 429)
      throw new Error(`${response.statusCode}: ${text.slice(0, 300)}`)
    throw new ServerRefusal(response.statusCode, `${method} ${path}: ${response.statusCode} ${text.slice(0, 500)}`)
  }

  return {
    async report(hostId, report, signal) {
      await call('PUT', `/hosts/${hostId}`, signal, report)
    },
    async sweep(hostId, runIds, signal) {
      return SweepAnswer.parse(await call('POST', `/hosts/${hostId}/sweep`, signal, { run_ids: runIds })).remove
    },
    async order(runId, execution, signal) {
      return ExecutionOrder.parse(await call('GET', `/runs/${runId}/executions/${execution}`, signal))
    },
    async message(runId, messageId, signal) {
      return MessageText.parse(await call('GET', `/runs/${runId}/messages/${messageId}`, signal)).text
    },
    async credential(runId, execution, signal) {
      return RunCredential.parse(await call('POST', `/runs/${runId}/executions/${execution}/credential`, signal, {}))
        .token
    },
    async append(runId, execution, batch, signal) {
      return JournalPosition.parse(await call('POST', `/runs/${runId}/executions/${execution}/events`, signal, batch))
        .line
    },
    async position(runId, journal, signal) {
      return JournalPosition.parse(await call('GET', `/runs/${runId}/journals/${encodeURIComponent(journal)}`, signal))
        .line
    },
    async result(runId, execution, result, signal) {
      await call('PUT', `/runs/${runId}/executions/${execution}/result`, signal, result)
    },
  }
}
