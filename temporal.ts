// The way to Temporal, for clients and for workers.
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Connection, type WorkflowClientInterceptor } from '@temporalio/client'
import { loadClientConnectConfig } from '@temporalio/envconfig'
import type { NativeConnection } from '@temporalio/worker'
import type { Config } from './config.ts'

type TemporalConfig = Pick<Config, 'TEMPORAL_ADDRESS' | 'TEMPORAL_NAMESPACE' | 'AMBIENT_TEMPORAL_PORT'>

/** host:port of the Temporal server: the one that is set, or the embedded one. */
export const temporalAddress = (config: TemporalConfig): string =>
  config.TEMPORAL_ADDRESS ?? `127.0.0.1:${config.AMBIENT_TEMPORAL_PORT}`

/**
 * TLS and API key of a server that was set, by the same variables and profile
 * file as Temporal's own command line. The embedded server has neither.
 */
function security(config: TemporalConfig) {
  if (config.TEMPORAL_ADDRESS === undefined) return {}
  const { tls, apiKey, metadata } = loadClientConnectConfig().connectionOptions
  return {
    ...(tls === undefined ? {} : { tls }),
    ...(apiKey === undefined ? {} : { apiKey }),
    ...(metadata === undefined ? {} : { metadata }),
  }
}

/** As it comes, a client that has lost its server waits up to two minutes before it looks again. */
const reconnectSoon = { 'grpc.initial_reconnect_backoff_ms': 200, 'grpc.max_reconnect_backoff_ms': 2_000 }

/**
 * Connects at the first call and again whenever needed, so that a process
 * starts and serves while Temporal is down. A call is made once: whoever makes
 * it knows better when to try again.
 */
export function connectClient(config: TemporalConfig, interceptors: WorkflowClientInterceptor[] = []): Client {
  // Without interceptors the SDK repeats nothing; its repeats also throw, uncaught, once the connection is closed.
  const connection = Connection.lazy({
    address: temporalAddress(config),
    ...security(config),
    interceptors: [],
    channelArgs: reconnectSoon,
  })
  return new Client({ connection, namespace: config.TEMPORAL_NAMESPACE, interceptors: { workflow: interceptors } })
}

/**
 * What is said to Temporal is small, since histories hold ids: to compress each
 * message, and the server to unpack it and compress its answer, costs both sides
 * more than the bytes that it saves. As it comes, workers do.
 */
export const grpcCompression = { codec: 'none' } as const

/** Pause between attempts to reach Temporal, in milliseconds. */
const CONNECT_AGAIN_MS = 1_000

/** The connection of workers. Waits for Temporal where it does not answer; `onWait` is told once, with the reason. */
export async function connectWorker(
  config: TemporalConfig,
  onWait: (reason: string) => void,
): Promise<NativeConnection> {
  // Loaded here alone: the native library is of no use to a process that only speaks as a client.
  const { NativeConnection, TransportError } = await import('@temporalio/worker')
  for (let attempt = 1; ; attempt++) {
    try {
      return await NativeConnection.connect({ address: temporalAddress(config), ...security(config), grpcCompression })
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      if (attempt === 1) onWait(error.message)
      await sleep(CONNECT_AGAIN_MS)
    }
  }
}
