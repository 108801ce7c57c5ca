import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { createAttempts } from './attempts.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi({ env: { AMBIENT_WRONG_KEYS: '3', AMBIENT_TRUST_PROXY: 'loopback' } })
})
afterAll(() => api.close())

const from = (address: string, key: string) => ({ 'x-forwarded-for': address, authorization: `Bearer ${key}` })
const me = (address: string, key = api.key) => api.call('GET', '/agent/me', undefined, from(address, key))

test('an address with too many wrong keys is told to wait, and a good key gets in from there all the same', async () => {
  for (const index of [1, 2, 3]) expect((await me('192.0.2.1', `wk-wrong-${index}`)).status).toBe(401)
  const refused = await me('192.0.2.1', 'wk-wrong-4')
  expect(refused).toMatchObject({ status: 429, body: { error: expect.stringContaining('Too many wrong keys') } })
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(50)
  expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(60)
  expect((await me('192.0.2.2', 'wk-wrong-5')).status).toBe(401)
  expect((await me('192.0.2.1')).status).toBe(200)
  const signIn = await fetch(`${api.url}/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: 'http://127.0.0.1:8420', 'x-forwarded-for': '192.0.2.1' },
    body: JSON.stringify({ key: api.key }),
  })
  expect(signIn.status).toBe(200)
})

test.each<[string, () => string, { method: string; body?: string; headers?: Record<string, string> }]>([
  ['a sign-in', () => api.url.concat('/auth/login'), { method: 'POST', body: JSON.stringify({ key: 'wk-wrong' }) }],
  ['a share link', () => api.url.concat('/r/wrong'), { method: 'GET' }],
  ['a share link at the API', () => api.url.concat('/api/v1/agent/runs?share=wrong'), { method: 'GET' }],
  ['a provider’s answer', () => api.url.concat('/auth/callback?code=x&state=y'), { method: 'GET' }],
  [
    'a key for the metrics',
    () => api.url.concat('/metrics'),
    { method: 'GET', headers: { authorization: 'Bearer x' } },
  ],
])('%s counts as well', async (what, url, init) => {
  const headers = {
    accept: 'application/json',
    'content-type': 'application/json',
    origin: 'http://127.0.0.1:8420',
    'x-forwarded-for': `198.51.100.${what.length}`,
    ...init.headers,
  }
  const statuses: number[] = []
  for (let index = 0; index < 4; index += 1) statuses.push((await fetch(url(), { ...init, headers })).status)
  expect(statuses.slice(0, 3).every((status) => status >= 400 && status < 429)).toBe(true)
  expect(statuses[3]).toBe(429)
})

test('a key that was good once is refused, and keeps nobody out', async () => {
  await api.call('POST', '/agent/teams/default/members', { email: 'sam@example.com' })
  const { uid, key } = (await api.call('POST', '/agent/api-keys', { name: 'k', person: 'sam@example.com' })).body
  await api.db.updateTable('api_keys').set({ revoked_at: new Date() }).where('uid', '=', uid).execute()
  for (let index = 0; index < 5; index += 1) expect((await me('192.0.2.4', key)).status).toBe(401)
  expect((await me('192.0.2.4')).status).toBe(200)
})

test('wrong keys of hosts are counted apart', async () => {
  for (let index = 0; index < 3; index += 1)
    expect((await api.host('GET', '/hosts/x', undefined, { key: `ww-wrong-${index}` })).status).toBe(401)
  expect((await api.host('GET', '/hosts/x', undefined, { key: 'ww-wrong' })).status).toBe(429)
  expect((await api.host('GET', '/hosts/x')).status).not.toBe(429)
  expect((await api.call('GET', '/agent/me')).status).toBe(200)
})

test('the minute goes by, and a network of IPv6 counts as one address', () => {
  let now = 1_000_000
  const attempts = createAttempts(2, () => now)
  const fail = (ip: string) => () => attempts.fail({ ip } as Parameters<typeof attempts.fail>[0])
  fail('2001:db8::1')()
  now += 30_000
  fail('2001:db8:0:0:ffff::2')()
  expect(fail('2001:0db8::3')).toThrow('Try again in 30 s')
  expect(fail('2001:db8:0:1::1')).not.toThrow()
  now += 30_001
  expect(fail('2001:db8::3')).not.toThrow()
})
