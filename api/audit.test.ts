import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { command } from '../cli/testing/command.ts'
import type { AuditEntry } from '../domain/audit.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi({ env: { AMBIENT_TRUST_PROXY: 'loopback' } })
})
afterAll(() => api.close())

const entries = async (query = '', headers: Record<string, string> = {}): Promise<AuditEntry[]> =>
  (await api.call('GET', `/agent/audit-log?${query}`, undefined, headers)).body.entries
const actions = (list: AuditEntry[]) => list.map(({ action }) => action)

test('what is changed is noted: who, from where, to which thing, and never a secret', async () => {
  const from = { 'x-forwarded-for': '203.0.113.9, 198.51.100.7', 'user-agent': 'probe/1' }
  const config = { name: 'web', repos: [], env: { TOKEN: 'very-secret' } }
  const { uid } = (await api.call('POST', '/agent/environments', config, from)).body
  await api.call('PUT', `/agent/environments/${uid}`, { ...config, name: 'site' })
  await api.call('DELETE', `/agent/environments/${uid}`)
  const { uid: keyUid, key } = (await api.call('POST', '/agent/workers/keys', { name: 'rack' })).body
  await api.call('DELETE', `/agent/workers/keys/${keyUid}`)
  const { run_id: run } = (await api.call('POST', '/agent/runs', { prompt: 'A private prompt' })).body
  await api.call('POST', `/agent/runs/${run}/followups`, { message: 'A private message' })
  await api.call('POST', `/agent/runs/${run}/cancel`, {})
  const all = await entries('all=true&sort_order=asc')
  expect(all.map(({ action, thing, team }) => [action, thing?.uid, team])).toEqual([
    ['environments.create', uid, 'default'],
    ['environments.update', uid, 'default'],
    ['environments.delete', uid, 'default'],
    ['worker_keys.create', keyUid, null],
    ['worker_keys.revoke', keyUid, null],
    ['runs.create', run, 'default'],
    ['runs.steer', run, 'default'],
    ['runs.cancel', run, 'default'],
  ])
  expect(all[0]).toMatchObject({
    // The last address that no trusted proxy has written.
    address: '198.51.100.7',
    user_agent: 'probe/1',
    actor: { type: 'operator', uid: 'operator', key_uid: null },
    detail: { name: 'web' },
  })
  expect(JSON.stringify(all)).not.toMatch(new RegExp(`very-secret|private|${key}`))
})

test('what is not done is not noted, nor what is asked a second time', async () => {
  const count = async () => (await entries('all=true&limit=500')).length
  const body = { name: 'once', repos: [] }
  const key = { 'idempotency-key': 'one' }
  await api.call('POST', '/agent/environments', body, key)
  const before = await count()
  await api.call('POST', '/agent/environments', body, key)
  expect((await api.call('POST', '/agent/environments', body)).status).toBe(409)
  expect((await api.call('DELETE', '/agent/environments/AAAAAAAAAAAAAAAAAAAAAA')).status).toBe(404)
  expect(await count()).toBe(before)
})

test('filters by action, actor, thing and time; pages have no holes and no doubles', async () => {
  const made: string[] = []
  for (const name of ['a', 'b', 'c', 'd', 'e'])
    made.push((await api.call('POST', '/agent/environments', { name: `page ${name}`, repos: [] })).body.uid)
  expect(actions(await entries('action=environments.delete&action=runs.create'))).toEqual([
    'runs.create',
    'environments.delete',
  ])
  expect(actions(await entries(`thing=${made[0]}&thing_type=environment`))).toEqual(['environments.create'])
  expect(await entries('actor=nobody')).toEqual([])
  expect(await entries('actor_type=user')).toEqual([])
  const [newest] = await entries('limit=1')
  expect(await entries(`created_after=${new Date(Date.now() + 60_000).toISOString()}`)).toEqual([])
  expect(actions(await entries(`thing=${made[4]}&created_before=${newest?.occurred_at}`))).toEqual([])
  const paged: number[] = []
  for (let cursor = ''; ; ) {
    const { body } = await api.call('GET', `/agent/audit-log?limit=2&action=environments.create${cursor}`)
    paged.push(...body.entries.map(({ position }: AuditEntry) => position))
    if (!body.page_info.has_next_page) break
    cursor = `&cursor=${body.page_info.next_cursor}`
  }
  expect(paged).toEqual((await entries('limit=500&action=environments.create')).map(({ position }) => position))
  expect(paged.length).toBeGreaterThanOrEqual(6)
})

test('is for the admins of a team, about their team; all of it is for the operator', async () => {
  const team = (await api.call('POST', '/agent/teams', { name: 'others' })).body.uid
  const as = async (email: string, role: string) => {
    await api.call('POST', `/agent/teams/${team}/members`, { email, role })
    const made = await api.call('POST', '/agent/api-keys', { name: 'k', person: email, scope: 'admin' })
    return { authorization: `Bearer ${made.body.key}` }
  }
  const admin = await as('admin@example.com', 'admin')
  const member = await as('member@example.com', 'member')
  await api.call('POST', '/agent/environments', { name: 'theirs', repos: [] }, admin)
  const seen = await entries('', admin)
  expect(new Set(seen.map((entry) => entry.team))).toEqual(new Set([team]))
  expect(seen[0]).toMatchObject({ action: 'environments.create', actor: { type: 'user', name: 'admin@example.com' } })
  expect(seen[0]?.actor.key_uid).toMatch(/^\w{22}$/)
  for (const [path, headers] of [
    ['/agent/audit-log', member],
    ['/agent/audit-log/verify', member],
    ['/agent/audit-log?all=true', admin],
  ] as const)
    expect((await api.call('GET', path, undefined, headers)).status).toBe(403)
})

test('is checked over the API, also against an entry that was noted before', async () => {
  const { body } = await api.call('GET', '/agent/audit-log/verify')
  expect(body).toMatchObject({ intact: true, broken_at: null, known: null })
  const known = `${body.head.position}:${body.head.hash}`
  expect((await api.call('GET', `/agent/audit-log/verify?known=${known}`)).body).toMatchObject({ known: 'found' })
  const wrong = `${body.head.position}:${'0'.repeat(64)}`
  expect((await api.call('GET', `/agent/audit-log/verify?known=${wrong}`)).body).toMatchObject({ intact: false })
  expect((await api.call('GET', '/agent/audit-log/verify?known=nonsense')).status).toBe(400)
})

test('the command line shows it, checks it, and says by its exit code when it was changed', async () => {
  const run = (...args: string[]) =>
    command(['audit', ...args], { url: api.url, env: { AMBIENT_API_KEY: api.key } }).finished
  const listed = await run('--action', 'worker_keys.create', '--all')
  expect(listed.stdout).toMatch(/Operator +worker_keys\.create +worker_key [\w-]+ +127\.0\.0\.1 +name=rack/)
  const asJson = await run('--json', '--limit', '2')
  expect(
    asJson.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).position),
  ).toEqual((await entries('limit=2')).map(({ position }) => position).toReversed())
  const { body } = await api.call('GET', '/agent/audit-log/verify')
  const known = `${body.head.position}:${body.head.hash}`
  expect(await run('verify', '--known', known)).toMatchObject({ code: 0, stdout: expect.stringContaining(known) })
  await sql`alter table audit_log disable trigger all`.execute(api.db)
  await sql`update audit_log set actor_uid = 'somebody' where position = 3`.execute(api.db)
  expect(await run('verify')).toMatchObject({ code: 1, stdout: expect.stringContaining('entry 3 is not') })
})
