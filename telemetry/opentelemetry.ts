// Loads OpenTelemetry: only where traces are made.
import {
  type Context,
  context,
  defaultTextMapGetter,
  defaultTextMapSetter,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { envDetectorSync, Resource } from '@opentelemetry/resources'
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base'
import {
  makeWorkflowExporter,
  OpenTelemetryActivityInboundInterceptor,
  OpenTelemetryWorkflowClientInterceptor,
} from '@temporalio/interceptors-opentelemetry'
import type { RequestHandler } from 'express'
import type { Tracing } from './tracing.ts'

export interface OpenTelemetryOptions {
  part: string
  version: string
  serviceName: string
  url: string
  protocol: 'http/protobuf' | 'http/json'
}

export async function createTracing({
  part,
  version,
  serviceName,
  url,
  protocol,
}: OpenTelemetryOptions): Promise<Tracing> {
  const resource = Resource.default()
    .merge(envDetectorSync.detect())
    .merge(new Resource({ 'service.name': serviceName, 'service.version': version, 'ambient.part': part }))
  const processor = new BatchSpanProcessor(await createExporter(url, protocol))
  const provider = new BasicTracerProvider({ resource, spanProcessors: [processor] })
  provider.register({
    contextManager: new AsyncLocalStorageContextManager().enable(),
    propagator: new W3CTraceContextPropagator(),
  })
  return {
    requests: traceRequests(),
    within: (carried, work) => (carried === null ? work() : context.with(fromTraceparent(carried), work)),
    clientInterceptors: [new OpenTelemetryWorkflowClientInterceptor()],
    workerOptions: {
      interceptors: { activity: [(of) => ({ inbound: new OpenTelemetryActivityInboundInterceptor(of) })] },
      // A workflow's spans come out of its sandbox this way.
      sinks: { exporter: makeWorkflowExporter(processor, resource) },
    },
    close: () => provider.shutdown(),
  }
}

async function createExporter(url: string, protocol: OpenTelemetryOptions['protocol']): Promise<SpanExporter> {
  if (protocol === 'http/json') {
    const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http')
    return new OTLPTraceExporter({ url })
  }
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto')
  return new OTLPTraceExporter({ url })
}

const fromTraceparent = (traceparent: string): Context =>
  propagation.extract(context.active(), { traceparent }, defaultTextMapGetter)

function traceRequests(): RequestHandler {
  const tracer = trace.getTracer('ambient-api')
  return (request, response, next) => {
    // A stream is as long as its run, and tells nothing that the run does not.
    if (request.get('accept')?.includes('text/event-stream')) return next()
    const parent = propagation.extract(context.active(), request.headers, defaultTextMapGetter)
    const { method } = request
    const attributes = { 'http.request.method': method, 'url.path': request.originalUrl.split('?')[0] ?? '' }
    const span = tracer.startSpan(method, { kind: SpanKind.SERVER, attributes }, parent)
    const own = trace.setSpan(parent, span)
    const carrier: { traceparent?: string } = {}
    propagation.inject(own, carrier, defaultTextMapSetter)
    response.locals.trace = carrier.traceparent
    response.once('close', () => {
      const route: unknown = request.route?.path
      if (typeof route === 'string') span.updateName(`${method} ${request.baseUrl}${route}`)
      span.setAttribute('http.response.status_code', response.statusCode)
      if (response.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end()
    })
    context.with(own, next)
  }
}
