import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase } from '../store/database.ts'
import { sayPresent } from '../store/hosts/presence.ts'
import { createEventListener } from '../store/listener.ts'
import { startTestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { noteTrouble } from '../workers/start/trouble.ts'

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

test('what a worker says is heard', async () => {
  const url = await postgres.databaseUrl()
  const database = createDatabase(url)
  const listener = createEventListener({ url })
  expect(listener.workerHeardAgo()).toBeNull()
  const leave = sayPresent(database.db)
  await expect.poll(() => listener.workerHeardAgo()).toBeLessThan(3_500)
  leave()
  await listener.close()
  await database.close()
})

test('a part that keeps ending is told with how often, for as long as the supervisor says so', async () => {
  const data = mkdtempSync(join(tmpdir(), 'ambient-health-'))
  const api = await startTestApi({ databaseUrl: await postgres.databaseUrl(), env: { AMBIENT_DATA: data } })
  const gateway = async () => {
    const response = await fetch(`${api.url}/healthz`)
    return ((await response.json()) as { checks: { gateway: string } }).checks.gateway
  }
  noteTrouble({ AMBIENT_DATA: data }, 'gateway', { how: 'ended with exit code 1', count: 7 })
  expect(await gateway()).toMatch(/; its process ended with exit code 1, 7 times in a row; it is started again$/)
  noteTrouble({ AMBIENT_DATA: data }, 'gateway', { how: 'ended with exit code 1', count: 1 })
  expect(await gateway()).not.toContain('in a row')
  await api.close()
  rmSync(data, { recursive: true })
})
