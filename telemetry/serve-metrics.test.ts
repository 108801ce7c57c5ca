import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Counter, Registry } from 'prom-client'
import { afterEach, expect, test } from 'vitest'
import { freePort } from '../workers/start/ports.ts'
import { listenForScrapes } from './serve-metrics.ts'

const close: (() => void)[] = []
afterEach(() => {
  for (const end of close.splice(0)) end()
})

async function serve(options: { port?: number; key?: string; more?: () => Promise<string> }) {
  const registry = new Registry()
  new Counter({ name: 'of_this_test_total', help: 'h', registers: [registry] }).inc(3)
  const port = options.port ?? (await freePort())
  const said: string[] = []
  const listening = Promise.withResolvers<void>()
  const log = {
    info: () => listening.resolve(),
    warn: (_fields: object, text: string) => void said.push(text),
  }
  const base = { registry, bind: '127.0.0.1', key: options.key, more: options.more, log }
  close.push(listenForScrapes({ ...base, port, againMs: 50 }))
  const get = (path = '/metrics', headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${port}${path}`, { headers })
  return { get, said, listening: listening.promise, port }
}

test('a scrape gets the metrics of the process, and those of the other source after them', async () => {
  const { get, listening } = await serve({ more: async () => 'of_another 1\n' })
  await listening
  const response = await get()
  expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4')
  expect(await response.text()).toMatch(/of_this_test_total 3\n(.*\n)*of_another 1\n/)
  expect((await get('/')).status).toBe(404)
})

test('a source that fails takes nothing with it', async () => {
  const { get, listening } = await serve({
    more: async () => {
      throw new Error('not\nthere')
    },
  })
  await listening
  const text = await (await get()).text()
  expect(text).toContain('of_this_test_total 3')
  expect(text).toContain('# Error: not there')
})

test('where a key is set, nobody reads without it', async () => {
  const { get, listening } = await serve({ key: 'a-key-for-metrics' })
  await listening
  expect((await get()).status).toBe(401)
  expect((await get('/metrics', { authorization: 'Bearer another-key' })).status).toBe(401)
  expect((await get('/metrics', { authorization: 'Bearer a-key-for-metrics' })).status).toBe(200)
})

test('a port that is taken is told once, and served when it is free', async () => {
  const predecessor: Server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => predecessor.once('listening', resolve))
  const { port } = predecessor.address() as AddressInfo
  const { get, said, listening } = await serve({ port })
  await expect.poll(() => said).toEqual(['metrics cannot be served yet; it is tried again'])
  predecessor.close()
  await listening
  expect((await get()).status).toBe(200)
  expect(said).toHaveLength(1)
})
