import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Docker from 'dockerode'
import { expect, test } from 'vitest'
import { ensureImage } from './image.ts'

test('the fetching of an image ends when its run is cancelled', async () => {
  // A daemon that begins to fetch and never comes to an end.
  const fetching = Promise.withResolvers<void>()
  const daemon = createServer((request, response) => {
    if (request.method === 'GET') return void response.writeHead(404, { 'content-type': 'application/json' }).end('{}')
    response.writeHead(200, { 'content-type': 'application/json' }).write('{"status":"Pulling"}\n')
    fetching.resolve()
  }).listen(0, '127.0.0.1')
  await once(daemon, 'listening')
  const cancel = new AbortController()
  const reason = new Error('cancelled')
  try {
    const docker = new Docker({ protocol: 'http', host: '127.0.0.1', port: (daemon.address() as AddressInfo).port })
    const ensured = ensureImage(docker, 'large:latest', cancel.signal)
    ensured.catch(() => {})
    await fetching.promise
    cancel.abort(reason)
    await expect(ensured).rejects.toBe(reason)
  } finally {
    daemon.closeAllConnections()
    daemon.close()
  }
}, 5_000)
