// What the gateway's measure calls: streams the events that the request asks for, each with the time at which it is sent.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { json } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'

const [port = ''] = process.argv.slice(2)

const event = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`

const server = createServer(async (request, response) => {
  const { plan } = (await json(request)) as { plan: { events: number; everyMs: number } }
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(event({ type: 'message_start', message: { usage: { input_tokens: 1, output_tokens: 1 } } }))
  const closed = once(response, 'close')
  for (let at = 0; at < plan.events && !response.destroyed; at++) {
    if (plan.everyMs > 0) await delay(plan.everyMs)
    const delta = { type: 'text_delta', text: 'some words of an answer' }
    const sent = response.write(event({ type: 'content_block_delta', index: 0, delta, at: Date.now() }))
    if (!sent) await Promise.race([once(response, 'drain'), closed])
  }
  response.write(event({ type: 'message_delta', usage: { output_tokens: plan.events } }))
  response.end(event({ type: 'message_stop' }))
})
server.listen(Number(port), '127.0.0.1', () => process.stdout.write('listening\n'))
process.on('SIGTERM', () => process.exit(0))
