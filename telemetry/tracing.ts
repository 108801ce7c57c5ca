// OpenTelemetry traces from a request to what an agent is told. Without an endpoint nothing of OpenTelemetry is loaded.
import type { WorkflowClientInterceptor } from '@temporalio/client'
import type { WorkerOptions } from '@temporalio/worker'
import type { RequestHandler } from 'express'

export interface TracingConfig {
  OTEL_EXPORTER_OTLP_ENDPOINT?: string | undefined
  OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf' | 'http/json'
  OTEL_SERVICE_NAME?: string | undefined
}

export interface Tracing {
  /** A span around each request, in the caller's own trace where it names one. */
  readonly requests: RequestHandler
  /** Work that belongs to a trace, as {@link traceOf} told it. */
  within<T>(trace: string | null, work: () => Promise<T>): Promise<T>
  readonly clientInterceptors: WorkflowClientInterceptor[]
  /** For a Temporal worker. */
  readonly workerOptions: Pick<WorkerOptions, 'interceptors' | 'sinks'>
  /** Sends what has not been sent. */
  close(): Promise<void>
}

/** For a process that makes no traces. */
export const noTracing: Tracing = {
  requests: (_request, _response, next) => next(),
  within: (_trace, work) => work(),
  clientInterceptors: [],
  workerOptions: {},
  close: async () => {},
}

export async function startTracing(part: string, version: string, config: TracingConfig): Promise<Tracing> {
  const endpoint = config.OTEL_EXPORTER_OTLP_ENDPOINT
  if (endpoint === undefined) return noTracing
  const { createTracing } = await import('./opentelemetry.ts')
  return createTracing({
    part,
    version,
    serviceName: config.OTEL_SERVICE_NAME ?? `ambient-${part}`,
    url: `${endpoint}/v1/traces`,
    protocol: config.OTEL_EXPORTER_OTLP_PROTOCOL,
  })
}

/** The trace that a request belongs to, as the W3C's traceparent header has it; null where none is made. */
export const traceOf = (response: Parameters<RequestHandler>[1]): string | null =>
  (response.locals.trace as string | undefined) ?? null

export const TRACING_MODULE = '@temporalio/interceptors-opentelemetry/lib/workflow-interceptors.js'

/** What is loaded into the workflows' sandbox beside them. */
export const workflowInterceptorModules = (config: Pick<TracingConfig, 'OTEL_EXPORTER_OTLP_ENDPOINT'>): string[] =>
  config.OTEL_EXPORTER_OTLP_ENDPOINT === undefined ? [] : [TRACING_MODULE]
