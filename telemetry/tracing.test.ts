import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { execa } from 'execa'
import { expect, test } from 'vitest'

/** A process that starts tracing and makes one span; tells which modules of OpenTelemetry it has loaded. */
async function traced(config: object): Promise<string[]> {
  const script = `
    import { registerHooks } from 'node:module'
    const loaded = new Set()
    registerHooks({ load(url, context, next) { loaded.add(url); return next(url, context) } })
    const { startTracing } = await import(${JSON.stringify(new URL('./tracing.ts', import.meta.url).href)})
    const tracing = await startTracing('server', '1.0.0', ${JSON.stringify(config)})
    const span = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await tracing.within(span, async () => {
      for (const interceptor of tracing.clientInterceptors)
        await interceptor.signal(
          { signalName: 'mail', workflowExecution: { workflowId: 'w' }, headers: {}, args: [] },
          async () => {},
        )
    })
    await tracing.close()
    process.stdout.write(JSON.stringify([...loaded].filter((url) => url.includes('opentelemetry'))))
  `
  const { stdout } = await execa(process.execPath, ['--input-type=module', '--eval', script])
  return JSON.parse(stdout) as string[]
}

test('without an endpoint nothing of OpenTelemetry is loaded', async () => {
  expect(await traced({ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf' })).toEqual([])
})

test.each([
  ['http/protobuf', 'application/x-protobuf'],
  ['http/json', 'application/json'],
])('by %s spans go to the endpoint under /v1/traces', async (protocol, type) => {
  const requests: { path: string | undefined; type: string | undefined; body: Buffer }[] = []
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    requests.push({ path: request.url, type: request.headers['content-type'], body: Buffer.concat(parts) })
    response.end()
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await traced({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_EXPORTER_OTLP_PROTOCOL: protocol })
  server.close()
  server.closeAllConnections()
  expect(requests).toMatchObject([{ path: '/v1/traces', type }])
  const trace = Buffer.from('0af7651916cd43dd8448eb211c80319c', 'hex')
  const body = requests[0]?.body ?? Buffer.alloc(0)
  expect(protocol === 'http/json' ? body.includes(trace.toString('hex')) : body.includes(trace)).toBe(true)
  expect(body.includes('ambient-server')).toBe(true)
})
