import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { reportArtifact } from '../../store/runs/artifacts.ts'
import { appendEvents } from '../../store/runs/events.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { createBrowser } from '../../test/support/browser.ts'
import { routesOf } from '../../test/support/express-routes.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'

let postgres: TestPostgres
let api: TestApi
/** Somebody of another team, who knows nothing of these runs. */
let stranger: { authorization: string }
beforeAll(async () => {
  postgres = await startTestPostgres()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl(), env: { AMBIENT_WRONG_KEYS: '0' } })
  const team = (await api.call('POST', '/agent/teams', { name: 'others' })).body.uid
  await api.call('POST', `/agent/teams/${team}/members`, { email: 'eve@example.com', role: 'member' })
  const key = (await api.call('POST', '/agent/api-keys', { name: 'k', person: 'eve@example.com', scope: 'admin' })).body
  stranger = { authorization: `Bearer ${key.key}` }
})
afterAll(async () => {
  await api?.close()
  await postgres.stop()
})

const start = async (more: object = {}) => (await api.call('POST', '/agent/runs', { prompt: 'Do it', ...more })).body
const share = async (runId: string, fields: object = {}) =>
  (await api.call('POST', `/agent/runs/${runId}/shares`, { with: 'link', level: 'view', ...fields })).body
/** Without any key, or as somebody. */
const ask = async (method: string, path: string, headers: Record<string, string> = {}, body?: unknown) => {
  const response = await fetch(`${api.url}${path}`, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: text.startsWith('{') ? JSON.parse(text) : null,
  }
}
const planOf = (id: string) =>
  api.db
    .transaction()
    .execute((tx) => reportArtifact(tx, { id, execution: 1 }, { type: 'PLAN', key: 'plan', data: {} }))
const RUNS = '/api/v1/agent/runs'

describe('a link to a run', () => {
  test('lets somebody who has signed in see that run and the ids of its children, and nothing more', async () => {
    const { run_id: id } = await start()
    const { run_id: child } = await start({ parent_run_id: id })
    const { token } = await share(id)
    expect(token).toMatch(/^[\w-]{43}$/)
    const link = { ...stranger, 'x-ambient-share': token }
    expect((await ask('GET', `${RUNS}/${id}`, stranger)).status).toBe(404)
    expect((await ask('GET', `${RUNS}/${id}`, link)).body).toMatchObject({ run_id: id, children: [child] })
    expect((await ask('GET', `${RUNS}/${id}?share=${token}`, stranger)).status).toBe(200)
    expect((await ask('GET', `${RUNS}/${id}/timeline`, link)).status).toBe(200)
    expect((await ask('GET', `${RUNS}/${child}`, link)).status).toBe(404)
    expect((await ask('GET', RUNS, link)).body.runs).toEqual([])
    expect((await ask('POST', `${RUNS}/${id}/cancel`, link, {})).status).toBe(403)
    expect((await ask('GET', `${RUNS}/${id}/shares`, link)).status).toBe(403)
    expect((await ask('GET', `${RUNS}/${id}`, { 'x-ambient-share': token })).status).toBe(401)
  })

  test('to steer lets them send messages and cancel, and the audit log says who', async () => {
    const { run_id: id } = await start()
    const { token } = await share(id, { level: 'steer' })
    const link = { ...stranger, 'x-ambient-share': token }
    expect((await ask('POST', `${RUNS}/${id}/followups`, link, { message: 'Go on' })).status).toBe(200)
    expect((await ask('POST', `${RUNS}/${id}/cancel`, link, {})).status).toBe(200)
    const { entries } = (await api.call('GET', `/agent/audit-log?thing=${id}`)).body
    expect(entries).toMatchObject([
      { action: 'runs.cancel', actor: { type: 'user', name: 'eve@example.com' }, team: 'default' },
      { action: 'runs.steer' },
      { action: 'runs.share', actor: { type: 'operator' } },
      { action: 'runs.create' },
    ])
  })

  test('that is public is good for anybody to see the run, whatever route they try', async () => {
    const { run_id: id } = await start()
    const { run_id: other } = await start()
    const { token } = await share(id, { public: true })
    const link = { 'x-ambient-share': token }
    expect((await ask('GET', `${RUNS}/${id}`, link)).body.run_id).toBe(id)
    expect((await ask('GET', `${RUNS}/${id.toUpperCase()}`, link)).status).toBe(200)
    expect((await ask('GET', `${RUNS}/${other}`, link)).status).toBe(401)
    expect((await ask('GET', `${RUNS}/${id}/../${other}`, link)).status).toBe(401)
    expect((await ask('GET', `${RUNS}/${id}/shares`, link)).status).toBe(403)
    const artifact = async (of: string) =>
      (await ask('GET', `/api/v1/agent/artifacts/${await planOf(of)}`, link)).body.detail
    expect(await artifact(other)).toMatch('There is no artifact')
    // Found, and told that its content was never handed over.
    expect(await artifact(id)).not.toMatch('There is no artifact')
    const elsewhere = routesOf(api.app).filter(
      ({ method, path }) =>
        path.startsWith('/api/v1/agent') &&
        !(method === 'get' && (path.startsWith(`${RUNS}/:runId`) || path.startsWith('/api/v1/agent/artifacts'))),
    )
    expect(elsewhere.length).toBeGreaterThan(50)
    for (const { method, path } of elsewhere.filter(({ path }) => !path.endsWith('/redirect'))) {
      const filled = path.replace(':runId', id).replaceAll(/:\w+/g, randomUUID())
      const body = method === 'get' ? undefined : {}
      expect([method, path, (await ask(method.toUpperCase(), filled, link, body)).status]).toEqual([method, path, 401])
    }
  })

  test('is over when it expires or is taken back', async () => {
    const { run_id: id } = await start()
    const shared = await share(id, { public: true, expires_at: new Date(Date.now() + 60_000).toISOString() })
    const link = { 'x-ambient-share': shared.token }
    expect((await ask('GET', `${RUNS}/${id}`, link)).status).toBe(200)
    const row = api.db.updateTable('run_shares').where('uid', '=', shared.uid)
    await row.set({ expires_at: new Date(Date.now() - 1) }).execute()
    expect((await ask('GET', `${RUNS}/${id}`, link)).status).toBe(401)
    await row.set({ expires_at: null }).execute()
    await api.call('DELETE', `/agent/runs/${id}/shares/${shared.uid}`)
    expect((await ask('GET', `${RUNS}/${id}`, link)).status).toBe(401)
    expect((await ask('GET', `/r/${shared.token}`)).status).toBe(404)
  })

  test('opens in a browser, which is asked to sign in where the link says so', async () => {
    const { run_id: id } = await start({ title: 'A <b>run' })
    const browser = createBrowser({})
    const open = await browser.open(`${api.url}/r/${(await share(id, { public: true })).token}`)
    expect([open.status, open.text]).toEqual([200, expect.stringContaining('A &lt;b&gt;run')])
    const { token } = await share(id)
    const asked = await browser.open(`${api.url}/r/${token}`)
    expect([asked.url.pathname, asked.text]).toEqual(['/auth/login', expect.stringContaining(`value="/r/${token}"`)])
    const form = { key: api.key, return_to: `/r/${token}` }
    const done = await browser.send('POST', `${api.url}/auth/login`, { form })
    expect((await browser.open(`${api.url}${done.headers.get('location')}`)).text).toContain('A &lt;b&gt;run')
    const told = await ask('GET', `/r/${token}`, { ...stranger, accept: 'application/json' })
    expect(told.body).toMatchObject({ level: 'view', run: { run_id: id } })
  })

  test('shows what was asked, said and handed over as plain text, and nobody’s address', async () => {
    const sam = { type: 'user', uid: (await api.call('POST', '/agent/people', { email: 'sam@example.com' })).body.uid }
    await api.call('POST', '/agent/teams/default/members', { email: 'sam@example.com' })
    const { key } = (await api.call('POST', '/agent/api-keys', { name: 'k', person: sam.uid, scope: 'run' })).body
    const asSam = { authorization: `Bearer ${key}` }
    const { run_id: id } = (await api.call('POST', '/agent/runs', { prompt: 'Say <b>it</b>' }, asSam)).body
    await appendEvents(api.db, {
      runId: id,
      execution: 1,
      journal: 'agent-1',
      events: Array.from({ length: 250 }, (_, index) => ({
        ...{ line: index + 1, part: 0, time: new Date().toISOString(), kind: 'message' as const },
        data: { text: `<script>alert(${index})</script>`, message_id: String(index) },
      })),
      readTo: 250,
    })
    await api.db.transaction().execute(async (tx) => {
      const file = { filename: 'log.txt', filepath: 'log.txt', mime_type: 'text/plain' }
      const data = { url: 'javascript:alert(1)', reference_type: 'x', title: 'A "trap"' }
      await reportArtifact(tx, { id, execution: 1 }, { type: 'EXTERNAL_REFERENCE', key: 'x', data })
      await reportArtifact(tx, { id, execution: 1 }, { type: 'FILE', key: 'f', data: file })
    })
    const { token } = await share(id, { public: true })
    const page = await ask('GET', `/r/${token}`, { accept: 'text/html' })
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(page.text).toContain('Say &lt;b&gt;it&lt;/b&gt;')
    expect(page.text).toContain('&lt;script&gt;alert(249)&lt;/script&gt;')
    expect(page.text).toContain('A &quot;trap&quot; (external reference)')
    expect(page.text).not.toMatch(/<script|javascript:/)
    expect(page.text).toMatch(
      new RegExp(`href="/api/v1/agent/artifacts/\\w{22}/download\\?share=${token}"[^>]*>log.txt<`),
    )
    expect(page.text.trimEnd().endsWith('</html>')).toBe(true)
    const told = await ask('GET', `/r/${token}`)
    expect(told.body.run.creator).toMatchObject({ uid: sam.uid, email: null })
    const byApi = await ask('GET', `${RUNS}/${id}`, { 'x-ambient-share': token })
    expect(byApi.status).toBe(200)
    for (const { text } of [page, told, byApi]) expect(text).not.toContain('sam@example.com')
    expect((await api.call('GET', `/agent/runs/${id}`, undefined, asSam)).body.creator.email).toBe('sam@example.com')
  })

  test.each([
    ['VIEWER', 'view', 403],
    ['EDITOR', 'steer', 200],
  ])(
    'is made with a run that asks for %s, and told again to who sends the request again',
    async (access, level, cancelled) => {
      const body = { prompt: 'Do it', config: { session_sharing: { public_access: access } } }
      const key = { 'idempotency-key': randomUUID() }
      const { body: started } = await api.call('POST', '/agent/runs', body, key)
      expect((await api.call('POST', '/agent/runs', body, key)).body).toEqual(started)
      const { pathname } = new URL(started.session_link)
      expect((await ask('GET', pathname, stranger)).body).toMatchObject({ level, run: { run_id: started.run_id } })
      const link = { ...stranger, 'x-ambient-share': pathname.slice('/r/'.length) }
      expect((await ask('POST', `${RUNS}/${started.run_id}/cancel`, link, {})).status).toBe(cancelled)
      const kept = await api.db.selectFrom('idempotency').selectAll().execute()
      expect(JSON.stringify(kept)).not.toContain(pathname.slice('/r/'.length))
    },
  )

  test('is in no line of the log, and in no table', async () => {
    const lines: string[] = []
    const databaseUrl = await postgres.databaseUrl()
    const logged = await startTestApi({
      databaseUrl,
      log: pino({ level: 'trace' }, { write: (line: string) => lines.push(line) }),
    })
    try {
      const { run_id: id } = (await logged.call('POST', '/agent/runs', { prompt: 'Do it' })).body
      const { token } = (
        await logged.call('POST', `/agent/runs/${id}/shares`, { with: 'link', level: 'view', public: true })
      ).body
      const kept = await Promise.all([
        logged.db.selectFrom('run_shares').selectAll().execute(),
        logged.db.selectFrom('audit_log').selectAll().execute(),
        logged.db.selectFrom('idempotency').selectAll().execute(),
      ])
      expect(JSON.stringify(kept)).not.toContain(token)
      await logged.db.destroy()
      for (const path of [`/r/${token}`, `${RUNS}/${id}?share=${token}`]) {
        const response = await fetch(`${logged.url}${path}`)
        expect(response.status).toBeGreaterThanOrEqual(500)
        expect(await response.text()).not.toContain(token)
      }
      expect(lines.length).toBeGreaterThanOrEqual(2)
      expect(lines.join('')).not.toContain(token)
    } finally {
      await logged.close()
    }
  })
})

describe('the public look-ups', () => {
  test('lead from a conversation to its live run and back, without a key', async () => {
    const { run_id: id } = await start()
    expect((await ask('GET', `/api/v1/agent/conversations/${id}/redirect`)).body).toEqual({ session_id: id })
    expect((await ask('GET', `/api/v1/agent/sessions/${id}/redirect`)).body).toEqual({ conversation_id: id })
    await api.db.updateTable('runs').set({ state: 'SUCCEEDED' }).where('id', '=', id).execute()
    expect((await ask('GET', `/api/v1/agent/conversations/${id}/redirect`)).body).toEqual({})
    expect((await ask('GET', `/api/v1/agent/sessions/${id}/redirect`)).body).toEqual({ conversation_id: id })
  })

  test.each([[randomUUID()], ['nonsense'], ['a%2Fb']])('answer alike for what there is not: %s', async (id) => {
    for (const what of ['conversations', 'sessions']) {
      const { status, body } = await ask('GET', `/api/v1/agent/${what}/${id}/redirect`)
      expect([status, body]).toEqual([200, {}])
    }
  })
})
