// A collector of OpenTelemetry traces that keeps what it is sent: OTLP over HTTP, as JSON.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { z } from 'zod'

const Attribute = z.object({ key: z.string(), value: z.record(z.string(), z.unknown()) })
const Sent = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: z.array(Attribute) }),
      scopeSpans: z.array(
        z.object({
          spans: z.array(
            z.object({
              traceId: z.string(),
              spanId: z.string(),
              parentSpanId: z.string().optional(),
              name: z.string(),
              attributes: z.array(Attribute),
            }),
          ),
        }),
      ),
    }),
  ),
})

export interface Span {
  service: string
  traceId: string
  spanId: string
  parentSpanId: string
  name: string
  attributes: Record<string, unknown>
}

export interface Collector {
  readonly url: string
  /** All that have come so far. */
  readonly spans: readonly Span[]
  /** What the last request said of itself. */
  readonly headers: Record<string, string | string[] | undefined>
  close(): Promise<void>
}

export async function startCollector(): Promise<Collector> {
  const spans: Span[] = []
  const collector = { headers: {} as Collector['headers'] }
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    collector.headers = request.headers
    if (request.url !== '/v1/traces' || request.method !== 'POST') return void response.writeHead(404).end()
    for (const { resource, scopeSpans } of Sent.parse(JSON.parse(Buffer.concat(parts).toString())).resourceSpans) {
      const service = String(plain(resource.attributes)['service.name'])
      for (const { spans: sent } of scopeSpans)
        for (const { attributes, parentSpanId = '', ...span } of sent)
          spans.push({ ...span, parentSpanId, service, attributes: plain(attributes) })
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    get headers() {
      return collector.headers
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const plain = (attributes: z.infer<typeof Attribute>[]): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))
