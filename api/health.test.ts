import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'

let postgres: TestPostgres
beforeAll(async () => {
  postgres = await startTestPostgres()
})
afterAll(() => postgres.stop())

test('the gateway is looked for where AMBIENT_GATEWAY_URL says that it is', async () => {
  const gateway = createServer((_request, response) => response.writeHead(404).end())
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`
  const api = await startTestApi({
    databaseUrl: await postgres.databaseUrl(),
    env: { AMBIENT_GATEWAY_URL: `${url}/`, AMBIENT_GATEWAY_PORT: '9' },
  })
  const check = async () => {
    const response = await fetch(`${api.url}/healthz`)
    return ((await response.json()) as { checks: { gateway: string } }).checks.gateway
  }
  expect(await check()).toBe('ok')
  gateway.close()
  gateway.closeAllConnections()
  expect(await check()).toBe(`no model gateway answers at ${url}`)
  await api.close()
})
