import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ambient } from '../../cli/testing/command.ts'
import type { IdentityConfig } from '../../domain/identity.ts'
import { SEALED_MARK } from '../../domain/vault/sealed.ts'
import { openServer } from '../../secrets/mcp/values.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'

// Everything here goes over HTTP, as people do it; api/permissions.test.ts has who may call which route at all.
let api: TestApi
let platform: string
let sales: string
beforeAll(async () => {
  api = await startTestApi()
  platform = (await api.call('POST', '/agent/teams', { name: 'Platform' })).body.uid
  sales = (await api.call('POST', '/agent/teams', { name: 'Sales' })).body.uid
})
afterAll(() => api.close())

const bearer = (key: string, team?: string) => ({
  authorization: `Bearer ${key}`,
  ...(team !== undefined && { 'x-warp-team-uid': team }),
})

interface Person {
  uid: string
  email: string
  key: string
}

/** Somebody new in a team, with a key of their own. */
async function given(role: string, team = platform, more: object = {}): Promise<Person> {
  const email = `p${randomUUID().slice(0, 8)}@example.org`
  const { body } = await api.call('POST', `/agent/teams/${team}/members`, { email, role })
  const made = await api.call('POST', '/agent/api-keys', { name: 'k', scope: 'admin', person: email, ...more })
  return { uid: body.uid, email, key: made.body.key }
}

const as = (key: string, team?: string) => (method: string, path: string, body?: unknown) =>
  api.call(method, `/agent${path}`, body, bearer(key, team))

describe('a key', () => {
  test('is shown once, kept as a hash, and lets in whose it is', async () => {
    const { uid, email, key } = await given('member')
    expect(key).toMatch(/^wk-[\w-]{43}$/)
    const me = await as(key)('GET', '/me')
    expect(me.body).toMatchObject({
      type: 'user',
      uid,
      email,
      role: 'member',
      team: { uid: platform, name: 'Platform' },
    })
    const { body } = await as(key)('GET', '/api-keys')
    expect(body.keys).toEqual([
      expect.objectContaining({ key_prefix: key.slice(0, 11), owner: expect.objectContaining({ uid }), team: null }),
    ])
    expect(JSON.stringify(body)).not.toContain(key)
    const rows = await api.db.selectFrom('api_keys').selectAll().execute()
    expect(JSON.stringify(rows)).not.toContain(key)
  })

  test('is refused from the moment it is revoked', async () => {
    const { key } = await given('member')
    const [item] = (await as(key)('GET', '/api-keys')).body.keys
    expect((await as(key)('DELETE', `/api-keys/${item.uid}`)).status).toBe(204)
    expect((await as(key)('GET', '/me')).status).toBe(401)
  })

  test('outlives the one that it was made with, says which that was, and goes with it where that is asked for', async () => {
    const { email, key } = await given('member')
    const make = async (by: string, name: string) => (await as(by)('POST', '/api-keys', { name, scope: 'admin' })).body
    const [first] = (await as(key)('GET', '/api-keys')).body.keys
    expect(first.made_with).toBeNull()
    const second = await make(key, 'second')
    const third = await make(second.key, 'third')
    expect([second.made_with, third.made_with]).toEqual([first.uid, second.uid])
    const other = (await api.call('POST', '/agent/api-keys', { name: 'other', person: email, scope: 'admin' })).body
    await as(third.key)('DELETE', `/api-keys/${first.uid}`)
    const fresh = await make(second.key, 'fresh')
    const isGood = async (of: string) => (await as(of)('GET', '/me')).status === 200
    expect(await Promise.all([key, second.key, third.key].map(isGood))).toEqual([false, true, true])
    // By the operator, whose active team is another one.
    expect((await api.call('DELETE', `/agent/api-keys/${second.uid}?cascade=true`)).status).toBe(204)
    expect(await Promise.all([second.key, third.key, fresh.key, other.key].map(isGood))).toEqual([
      ...[false, false, false],
      true,
    ])
    const { entries } = (await api.call('GET', `/agent/audit-log?action=keys.revoke&all=true&limit=3`)).body
    expect(new Set(entries.map(({ thing }: { thing: { uid: string } }) => thing.uid))).toEqual(
      new Set([second.uid, third.uid, fresh.uid]),
    )
  })

  test('says to the minute when it was used last', async () => {
    const { key } = await given('member')
    const used = async () => (await as(key)('GET', '/api-keys')).body.keys[0].last_used_at
    const first = await used()
    expect(Date.now() - Date.parse(first)).toBeLessThan(60_000)
    expect(await used()).toBe(first)
    await api.db.updateTable('api_keys').set({ last_used_at: '2020-01-01T00:00:00Z' }).execute()
    await used()
    expect(Date.parse(await used())).toBeGreaterThan(Date.parse('2021-01-01'))
  })

  test('makes none that is good for more, or for longer, or for another team', async () => {
    const end = new Date(Date.now() + 3_600_000).toISOString()
    const { key, email } = await given('member', platform, { scope: 'manage', expires_at: end })
    await api.call('POST', `/agent/teams/${sales}/members`, { email })
    const make = async (body: object) => {
      const { status, body: answer } = await as(key)('POST', '/api-keys', { name: 'n', ...body })
      return status === 201 ? answer : status
    }
    expect(await make({ scope: 'admin' })).toBe(403)
    expect(await make({ expires_at: new Date(Date.now() + 7_200_000).toISOString() })).toBe(403)
    expect(await make({ person: email })).toBe(403)
    expect(await make({ scope: 'manage' })).toMatchObject({ scope: 'manage', expires_at: end })
    const bound = await make({ scope: 'manage', team: sales })
    expect(bound).toMatchObject({ team: sales })
    const narrow = as(bound.key)
    expect((await narrow('GET', '/me')).body).toMatchObject({ team: { uid: sales }, teams: [{ uid: sales }] })
    expect((await as(bound.key, platform)('GET', '/me')).status).toBe(403)
    expect((await narrow('POST', '/api-keys', { name: 'n', scope: 'run', team: platform })).status).toBe(400)
    expect((await narrow('POST', '/api-keys', { name: 'n' })).body.team).toBe(sales)
  })

  test('of somebody else is nobody’s to see or revoke but the admins’', async () => {
    const [one, other, admin] = [await given('member'), await given('member'), await given('admin')]
    const { body: bound } = await as(one.key)('POST', '/api-keys', { name: 'bound', team: platform })
    expect((await as(other.key)('DELETE', `/api-keys/${bound.uid}`)).status).toBe(404)
    expect((await as(other.key)('GET', '/api-keys?all=true')).status).toBe(403)
    const { body } = await as(admin.key)('GET', '/api-keys?all=true')
    expect(body.keys.map((key: { uid: string }) => key.uid)).toContain(bound.uid)
    expect((await as(admin.key)('DELETE', `/api-keys/${bound.uid}`)).status).toBe(204)
    expect((await as(bound.key)('GET', '/me')).status).toBe(401)
  })
})

describe('who follows a run', () => {
  /** Resolves with what ends the stream, once `end` has been called on its beginning. */
  async function followed(run: string, key: string, end: () => Promise<unknown>): Promise<void> {
    const response = await fetch(`${api.url}/api/v1/agent/runs/${run}/events?follow=always`, {
      headers: { ...bearer(key), accept: 'text/event-stream' },
    })
    expect(response.status).toBe(200)
    await end()
    const ended = performance.now()
    for await (const _ of response.body ?? []) {
      // To its end: it would go on for ever.
    }
    // Not only when a silent stream is looked at, which is every 15 s.
    expect(performance.now() - ended).toBeLessThan(14_000)
  }

  test('hears nothing more once the key is revoked', async () => {
    const { key } = await given('member')
    const run = (await as(key)('POST', '/runs', { prompt: 'x' })).body.run_id
    const [item] = (await as(key)('GET', '/api-keys')).body.keys
    await followed(run, key, () => as(key)('DELETE', `/api-keys/${item.uid}`))
  })

  test('hears nothing more once the run is not shared any more', async () => {
    const [one, other] = [await given('member'), await given('viewer', sales)]
    const run = (await as(one.key)('POST', '/runs', { prompt: 'x' })).body.run_id
    const asked = { with: 'person', person: other.uid, level: 'view' }
    const { body } = await as(one.key)('POST', `/runs/${run}/shares`, asked)
    await followed(run, other.key, () => as(one.key)('DELETE', `/runs/${run}/shares/${body.uid}`))
  })

  test('hears nothing more once they have left the team', async () => {
    const { key, uid } = await given('member')
    const run = (await as(key)('POST', '/runs', { prompt: 'x' })).body.run_id
    await followed(run, key, () => as(key)('DELETE', `/teams/${platform}/members/${uid}`))
  })
})

describe('a team', () => {
  test('is picked by the header, else the one that was joined first; another is refused', async () => {
    const { key, email } = await given('member')
    await api.call('POST', `/agent/teams/${sales}/members`, { email, role: 'viewer' })
    expect((await as(key)('GET', '/me')).body).toMatchObject({ team: { uid: platform }, role: 'member' })
    expect((await as(key, sales)('GET', '/me')).body).toMatchObject({ team: { uid: sales }, role: 'viewer' })
    expect((await as(key, 'default')('GET', '/me')).status).toBe(403)
    expect((await as(api.key, 'A'.repeat(22))('GET', '/me')).status).toBe(403)
  })

  test('is left with every right to its runs, also to one’s own', async () => {
    const { key, uid, email } = await given('member')
    await api.call('POST', `/agent/teams/${sales}/members`, { email })
    const run = (await as(key)('POST', '/runs', { prompt: 'x' })).body.run_id
    expect((await as(key)('GET', `/runs/${run}`)).status).toBe(200)
    await api.call('DELETE', `/agent/teams/${platform}/members/${uid}`)
    expect((await as(key)('GET', `/runs/${run}`)).status).toBe(404)
    expect((await as(key)('GET', '/me')).body.team.uid).toBe(sales)
  })

  test('lets nobody in who is disabled', async () => {
    const { key, uid } = await given('admin')
    expect((await api.call('PATCH', `/agent/people/${uid}`, { disabled: true })).body.disabled).toBe(true)
    expect((await as(key)('GET', '/me')).status).toBe(401)
    await api.call('PATCH', `/agent/people/${uid}`, { disabled: false })
    expect((await as(key)('GET', '/me')).status).toBe(200)
  })

  test('knows a person by one address, however it is written', async () => {
    const { email } = await given('member')
    const again = await api.call('POST', `/agent/teams/${platform}/members`, { email: email.toUpperCase() })
    expect(again.status).toBe(409)
    expect((await api.call('POST', '/agent/people', { email })).status).toBe(409)
    const { uid } = await given('member')
    expect((await api.call('PATCH', `/agent/people/${uid}`, { email })).status).toBe(409)
  })

  test('shows its members to each other, and not to others', async () => {
    const [one, other] = [await given('viewer'), await given('admin', sales)]
    const seen = async (key: string) =>
      (await as(key)('GET', '/people?limit=500')).body.people.map((person: { uid: string }) => person.uid)
    expect(await seen(one.key)).toContain(one.uid)
    expect(await seen(one.key)).not.toContain(other.uid)
    expect(await seen(api.key)).toEqual(expect.arrayContaining([one.uid, other.uid]))
  })

  test('has a limit of its own or that of the settings', async () => {
    const { body } = await api.call('POST', '/agent/teams', { name: 'Small', run_limit: 2 })
    expect(body.run_limit).toBe(2)
    expect((await api.call('PATCH', `/agent/teams/${body.uid}`, { run_limit: null })).body.run_limit).toBe(1000)
  })

  test('gets all people page by page', async () => {
    const seen: string[] = []
    for (let cursor = ''; ; ) {
      const { body } = await api.call('GET', `/agent/people?limit=3${cursor}`)
      seen.push(...body.people.map((person: { email: string }) => person.email))
      if (!body.page_info.has_next_page) break
      cursor = `&cursor=${body.page_info.next_cursor}`
    }
    expect(seen.length).toBeGreaterThan(6)
    expect(seen).toEqual([...new Set(seen)].sort())
  })
})

describe('what belongs to another team', () => {
  test('is not there: in lists, by id, as parent, as what is forked, as environment', async () => {
    const [one, other] = [await given('admin'), await given('admin', sales)]
    const environment = await as(one.key)('POST', '/environments', { name: `e${randomUUID()}` })
    const run = (await as(one.key)('POST', '/runs', { prompt: 'x' })).body.run_id
    const there = as(other.key)
    const listed = await there('GET', `/runs?limit=500`)
    expect(listed.body.runs.map((item: { run_id: string }) => item.run_id)).not.toContain(run)
    expect((await there('GET', '/environments')).body.environments).toEqual([])
    expect((await there('GET', `/environments/${environment.body.uid}`)).status).toBe(404)
    expect((await there('DELETE', `/environments/${environment.body.uid}`)).status).toBe(404)
    const start = async (body: object) => {
      const answer = await there('POST', '/runs', { prompt: 'x', ...body })
      return `${answer.status} ${answer.body.detail}`
    }
    expect(await start({ parent_run_id: run })).toBe(`400 parent_run_id: there is no run ${run}`)
    expect(await start({ fork_from: { run_id: run } })).toBe(`400 fork_from.run_id: there is no run ${run}`)
    const uid = environment.body.uid
    expect(await start({ config: { environment_id: uid } })).toBe(
      `404 config.environment_id: there is no environment ${uid}.`,
    )
  })

  test('has answers of its own to an Idempotency-Key', async () => {
    const [one, other] = [await given('member'), await given('member', sales)]
    const start = async ({ key }: Person) =>
      (await api.call('POST', '/agent/runs', { prompt: 'x' }, { ...bearer(key), 'idempotency-key': 'same' })).body
        .run_id
    const first = await start(one)
    expect(await start(one)).toBe(first)
    const second = await start(other)
    expect(second).not.toBe(first)
    expect((await as(other.key)('GET', `/runs/${second}`)).body.team).toBe(sales)
  })
})

describe('a run', () => {
  test('says who made it, as whom it works, and whose it is; lists are filtered by that', async () => {
    const one = await given('member')
    const run = (await as(one.key)('POST', '/runs', { prompt: 'x' })).body.run_id
    const profile = { type: 'user', uid: one.uid, display_name: one.email, email: one.email, photo_url: null }
    const { body } = await as(one.key)('GET', `/runs/${run}`)
    expect(body).toMatchObject({ creator: profile, executor: profile, scope: { type: 'Team', uid: platform } })
    const other = await given('member')
    const ids = async (query: string) =>
      (await as(other.key)('GET', `/runs?${query}`)).body.runs.map((item: { run_id: string }) => item.run_id)
    expect(await ids(`creator=${one.uid}`)).toEqual([run])
    expect(await ids(`creator=${encodeURIComponent(one.email.toUpperCase())}`)).toEqual([run])
    expect(await ids(`executor=${one.uid}`)).toEqual([run])
    expect(await ids(`creator=${other.uid}`)).toEqual([])
  })

  test('that is personal is seen by its creator and admins alone, with all that is begun below it', async () => {
    const [one, other, admin] = [await given('member'), await given('member'), await given('admin')]
    const run = (await as(one.key)('POST', '/runs', { prompt: 'x', team: false })).body.run_id
    const child = (await as(one.key)('POST', '/runs', { prompt: 'x', parent_run_id: run })).body.run_id
    for (const id of [run, child]) {
      expect((await as(one.key)('GET', `/runs/${id}`)).body.scope).toEqual({ type: 'User', uid: one.uid })
      expect((await as(admin.key)('GET', `/runs/${id}`)).status).toBe(200)
      expect((await as(other.key)('GET', `/runs/${id}`)).status).toBe(404)
    }
    const ids = async (key: string) =>
      (await as(key)('GET', `/runs?creator=${one.uid}`)).body.runs.map((item: { run_id: string }) => item.run_id).sort()
    expect(await ids(one.key)).toEqual([run, child].sort())
    expect(await ids(admin.key)).toEqual([run, child].sort())
    expect(await ids(other.key)).toEqual([])
    expect((await as(other.key)('POST', '/runs', { prompt: 'x', parent_run_id: run })).status).toBe(400)
  })

  test('is shared with a person of another team to view, then to steer, and taken back', async () => {
    const [one, other] = [await given('member'), await given('viewer', sales)]
    const run = (await as(one.key)('POST', '/runs', { prompt: 'x' })).body.run_id
    const [mine, theirs] = [as(one.key), as(other.key)]
    const send = () => theirs('POST', `/runs/${run}/followups`, { message: 'go on' })
    expect((await theirs('GET', `/runs/${run}`)).status).toBe(404)
    const viewing = await mine('POST', `/runs/${run}/shares`, { with: 'person', person: other.email, level: 'view' })
    expect(viewing.status).toBe(201)
    expect((await theirs('GET', `/runs/${run}`)).status).toBe(200)
    expect((await theirs('GET', '/runs?shared=true')).body.runs).toMatchObject([{ run_id: run }])
    expect((await theirs('GET', '/runs')).body.runs.map((item: { run_id: string }) => item.run_id)).not.toContain(run)
    const bound = as((await theirs('POST', '/api-keys', { name: 'bound', team: sales })).body.key)
    expect((await bound('GET', `/runs/${run}`)).status, 'with a key for their own team alone').toBe(404)
    expect((await bound('GET', '/runs?shared=true')).body.runs).toEqual([])
    expect((await send()).status).toBe(403)
    const { body } = await mine('POST', `/runs/${run}/shares`, { with: 'person', person: other.uid, level: 'steer' })
    expect((await send()).status).toBe(200)
    expect((await theirs('GET', `/runs/${run}/shares`)).status).toBe(403)
    expect((await mine('GET', `/runs/${run}/shares`)).body.shares).toMatchObject([{ uid: body.uid, level: 'steer' }])
    expect((await mine('DELETE', `/runs/${run}/shares/${body.uid}`)).status).toBe(204)
    expect((await theirs('GET', `/runs/${run}`)).status).toBe(404)
  })

  test('that is personal is shown to its team by a share, until that ends', async () => {
    const [one, other] = [await given('member'), await given('viewer')]
    const run = (await as(one.key)('POST', '/runs', { prompt: 'x', team: false })).body.run_id
    await as(one.key)('POST', `/runs/${run}/shares`, { with: 'team', level: 'view' })
    expect((await as(other.key)('GET', `/runs/${run}`)).status).toBe(200)
    const past = new Date(Date.now() - 1_000)
    await api.db.updateTable('run_shares').set({ expires_at: past }).where('run_id', '=', run).execute()
    expect((await as(other.key)('GET', `/runs/${run}`)).status).toBe(404)
    expect((await as(other.key)('GET', '/runs?shared=true')).body.runs).toEqual([])
  })

  test('is cancelled with those of its children alone that one could cancel one by one', async () => {
    const [one, other] = [await given('member'), await given('member')]
    const parent = (await as(one.key)('POST', '/runs', { prompt: 'x' })).body.run_id
    const start = async (body: object) =>
      (await as(other.key)('POST', '/runs', { prompt: 'x', parent_run_id: parent, ...body })).body.run_id
    const [ofTeam, personal] = [await start({}), await start({ team: false })]
    const { body } = await as(one.key)('POST', `/runs/${parent}/cancel`, { cascade: true })
    expect(body.cancelled_run_ids.sort()).toEqual([parent, ofTeam].sort())
    expect((await as(other.key)('GET', `/runs/${personal}`)).body.state).toBe('QUEUED')
  })
})

describe('a service account', () => {
  const create = async (body: object, key = api.key) => {
    const team = key === api.key ? platform : undefined
    return as(key, team)('POST', '/identities', { name: `agent ${randomUUID()}`, ...body })
  }
  const keyOf = async (uid: string, scope = 'run') =>
    (await as(api.key, platform)('POST', '/api-keys', { name: 'ci', agent_uid: uid, scope })).body.key

  test('is made, changed in parts, cleared by what is empty, and deleted with its keys', async () => {
    const admin = await given('admin')
    const { status, body } = await create({ description: 'd', prompt: 'p', secrets: [{ name: 'S' }] }, admin.key)
    expect(status).toBe(201)
    expect(body).toMatchObject({
      available: true,
      description: 'd',
      default_runner_uid: '',
      secrets: [{ name: 'S' }],
      skills: [],
      memory: { auto_memory: { enabled: false }, attached_stores: [] },
      agent_type: 'CUSTOM',
    })
    const path = `/identities/${body.uid}`
    const put = (change: object) => as(admin.key)('PUT', path, change)
    expect((await put({ description: '', prompt: null })).body).toMatchObject({ description: null, prompt: 'p' })
    expect((await put({ secrets: [] })).body).toMatchObject({ secrets: [], prompt: 'p', name: body.name })
    expect((await put({ name: 'Other' })).body).toMatchObject({ name: 'Other', prompt: 'p' })
    const key = await keyOf(body.uid)
    expect((await as(key)('GET', '/me')).body).toMatchObject({ type: 'service_account', uid: body.uid })
    expect((await as(admin.key)('DELETE', path)).status).toBe(204)
    expect((await as(admin.key)('GET', path)).status).toBe(404)
    expect((await as(key)('GET', '/me')).status).toBe(401)
  })

  test.each([
    [{ secrets: [{ name: 'a' }, { name: 'a' }] }, 'secrets: must not name a secret twice'],
    [
      { memory: { attached_stores: ['a', 'a'].map((uid) => ({ uid, access: 'read_only', instructions: 'i' })) } },
      'memory.attached_stores: must not have a memory store twice',
    ],
    [{ memory: { attached_stores: [{ uid: 'a', access: 'read_only', instructions: ' ' }] } }, 'must not be empty'],
    [{ harness: { type: 'claude' }, base_model: 'm' }, 'base_model: must be empty'],
    [{ harness: { type: 'claude' }, base_harness: 'codex' }, 'base_harness: is another than harness.type'],
    [{ environment_id: 'A'.repeat(22) }, 'environment_id: the team has no environment'],
    [{ skills: ['nothing'] }, 'skills.0: must be owner/repo:path'],
    [{ mcp_servers: { a: { url: 'http://x', command: 'y' } } }, 'exactly one of'],
  ])('is refused with the name of the field: %j', async (body, words) => {
    const answer = await create(body)
    expect(answer.status).toBe(400)
    expect(answer.body.detail).toContain(words)
  })

  test('that a team has by default is first in the list and stays', async () => {
    const { body } = await as(api.key, platform)('GET', '/identities')
    expect(body.agents[0]).toMatchObject({ is_default: true, name: 'Default' })
    const gone = await as(api.key, platform)('DELETE', `/identities/${body.agents[0].uid}`)
    expect(gone.status).toBe(400)
  })

  /** As the vault opens them. */
  const serversOf = ({ mcp_servers: servers = {} }: IdentityConfig) =>
    Object.fromEntries(Object.entries(servers).map(([name, server]) => [name, openServer(api.vault, platform, server)]))

  test('shows no value of an MCP server, and keeps it when it is sent back as shown', async () => {
    const servers = { s: { url: 'https://mcp.example', headers: { authorization: 'hush' } } }
    const { body } = await create({ mcp_servers: servers })
    expect(body.mcp_servers.s.headers).toEqual({ authorization: '***' })
    const path = `/identities/${body.uid}`
    await as(api.key, platform)('PUT', path, { mcp_servers: { ...body.mcp_servers, t: { command: 'x' } } })
    const { config } = await api.db
      .selectFrom('identities')
      .select('config')
      .where('uid', '=', body.uid)
      .executeTakeFirstOrThrow()
    expect(serversOf(config)).toEqual({ ...servers, t: { command: 'x' } })
    expect(
      (await as(api.key, platform)('PUT', path, { mcp_servers: { u: { command: 'u', env: { A: '***' } } } })).status,
    ).toBe(400)
  })

  test('gives its runs what their requests leave open', async () => {
    const environment = await as(api.key, platform)('POST', '/environments', { name: `e${randomUUID()}` })
    const { body: agent } = await create({
      prompt: 'Be brief',
      environment_id: environment.body.uid,
      harness: { type: 'codex', model_id: 'm-1' },
      worker_host: 'big',
    })
    const member = await given('member')
    const start = async (body: object) => {
      const answer = await as(member.key)('POST', '/runs', { prompt: 'x', agent_identity_uid: agent.uid, ...body })
      expect(answer.status).toBe(200)
      return (await as(member.key)('GET', `/runs/${answer.body.run_id}`)).body
    }
    expect(await start({})).toMatchObject({
      creator: { type: 'user', uid: member.uid },
      executor: { type: 'service_account', uid: agent.uid, display_name: agent.name },
      agent_config: {
        base_prompt: 'Be brief',
        environment_id: environment.body.uid,
        model_id: 'm-1',
        harness: { type: 'codex' },
        worker_host: 'big',
      },
    })
    const model = await start({ config: { model_id: 'm-2', harness: { type: 'oz' } } })
    expect(model.agent_config).toMatchObject({ model_id: 'm-2', harness: { type: 'codex' } })
    const other = await start({ config: { base_prompt: 'Mine', environment_id: '', harness: { type: 'claude' } } })
    expect(other.agent_config).toMatchObject({ base_prompt: 'Mine', harness: { type: 'claude' }, model_id: null })
    expect(other.environment).toBeNull()
  })

  test('by default holds for runs that name none', async () => {
    const { body } = await api.call('POST', '/agent/teams', { name: 'Careful' })
    const operator = as(api.key, body.uid)
    const [agent] = (await operator('GET', '/identities')).body.agents
    await operator('PUT', `/identities/${agent.uid}`, { prompt: 'Ask first' })
    const run = (await operator('POST', '/runs', { prompt: 'x' })).body.run_id
    expect((await operator('GET', `/runs/${run}`)).body).toMatchObject({
      agent_config: { base_prompt: 'Ask first' },
      executor: { uid: 'operator' },
    })
    const personal = (await operator('POST', '/runs', { prompt: 'x', team: false })).body.run_id
    expect((await operator('GET', `/runs/${personal}`)).body.agent_config.base_prompt).toBeUndefined()
  })

  test('with something that its runs cannot have begins none', async () => {
    const store = { uid: 'notes', access: 'read_only', instructions: 'Look there' }
    const { body } = await create({ memory: { attached_stores: [store] } })
    const answer = await as(api.key, platform)('POST', '/runs', { prompt: 'x', agent_identity_uid: body.uid })
    expect(answer.status).toBe(422)
    expect(answer.body.detail).toContain('memory')
  })

  test('speaks for a person only where an admin has allowed it, and only for an active member', async () => {
    const [member, admin, stranger] = [await given('member'), await given('admin'), await given('member', sales)]
    const { body: agent } = await create({}, member.key)
    const key = await keyOf(agent.uid)
    const start = (body: object) => as(key)('POST', '/runs', { prompt: 'x', ...body })
    expect((await start({ on_behalf_of: member.email })).status).toBe(403)
    const allow = (who: Person) => as(who.key)('PUT', `/identities/${agent.uid}`, { on_behalf_of_enabled: true })
    expect((await allow(member)).status).toBe(403)
    expect((await allow(admin)).body.on_behalf_of_enabled).toBe(true)
    expect((await start({ on_behalf_of: stranger.email })).status).toBe(400)
    const { body } = await start({ on_behalf_of: member.email })
    expect((await as(member.key)('GET', `/runs/${body.run_id}`)).body).toMatchObject({
      creator: { type: 'user', uid: member.uid },
      executor: { type: 'service_account', uid: agent.uid },
    })
    const by = await as(member.key)('POST', '/runs', { prompt: 'x', on_behalf_of: admin.email })
    expect(by.status).toBe(403)
    await api.call('PATCH', `/agent/people/${member.uid}`, { disabled: true })
    expect((await start({ on_behalf_of: member.email })).status).toBe(400)
  })

  test('starts runs of its team as itself alone', async () => {
    const [one, other] = [(await create({})).body, (await create({})).body]
    const key = await keyOf(one.uid)
    const start = (body: object) => as(key, sales)('POST', '/runs', { prompt: 'x', ...body })
    expect((await start({ agent_identity_uid: other.uid })).status).toBe(403)
    expect((await start({ team: false })).status).toBe(400)
    const { body } = await start({})
    // The header is ignored: a service account has one team.
    expect((await as(key)('GET', `/runs/${body.run_id}`)).body).toMatchObject({
      team: platform,
      creator: { uid: one.uid },
      executor: { uid: one.uid },
    })
  })
})

describe('whoever is deleted', () => {
  const shown = { overlap_policy: 'skip', cron_schedule: '0 9 * * *', prompt: 'Look' }

  test('as a team is there for nobody: runs are cancelled and stay, everything else goes', async () => {
    const team = (await api.call('POST', '/agent/teams', { name: 'Gone' })).body.uid
    const { uid, key } = await given('admin', team)
    const run = (await as(key)('POST', '/runs', { prompt: 'x' })).body.run_id
    const over = (await as(key)('POST', '/runs', { prompt: 'y' })).body.run_id
    await api.db.updateTable('runs').set({ state: 'SUCCEEDED' }).where('id', '=', over).execute()
    await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', over).execute()
    await as(key)('POST', '/schedules', { ...shown, name: 'daily' })
    await as(key)('POST', '/environments', { name: 'web', repos: [], prepare: false })
    expect((await as(key)('POST', '/secrets', { name: 'TOKEN', value: 'of the team' })).status).toBe(201)
    const servers = { tickets: { url: 'https://mcp.example.org/mcp', headers: { authorization: 'Bearer planted' } } }
    const profile = { name: 'usual', default: true, config: { mcp_servers: servers } }
    expect((await as(key)('POST', '/profiles', profile)).status).toBe(201)
    expect((await as(key)('POST', '/budgets', { scope: 'team', usd: 5 })).status).toBe(201)
    const agent_config = { mcp_servers: servers }
    expect((await as(key)('POST', '/schedules', { ...shown, name: 'with tools', agent_config })).status).toBe(201)
    const bot = (await as(key)('POST', '/identities', { name: 'bot', mcp_servers: servers })).body.uid
    const ofBot = (await as(key)('POST', '/api-keys', { name: 'k', agent_uid: bot })).body.key
    expect((await api.call('DELETE', '/agent/teams/default')).status).toBe(400)
    expect((await as(key)('DELETE', `/teams/${team}`)).status).toBe(403)
    const deleted = await api.call('DELETE', `/agent/teams/${team}`)
    expect(deleted).toMatchObject({
      status: 200,
      body: { cancelled_runs: 1, deleted_schedules: 2, revoked_keys: 1 },
    })
    expect((await api.call('DELETE', `/agent/teams/${team}`)).status).toBe(404)
    expect((await as(ofBot)('GET', '/me')).status).toBe(401)
    expect((await as(key)('GET', '/runs')).status).toBe(403)
    expect((await api.call('GET', '/agent/runs', undefined, { 'x-warp-team-uid': team })).status).toBe(403)
    expect((await api.call('GET', '/agent/teams')).body.teams.map((one: { uid: string }) => one.uid)).not.toContain(
      team,
    )
    const cancels = api.db.selectFrom('mail').select('run_id').where('kind', '=', 'cancel')
    expect(await cancels.where('run_id', 'in', [run, over]).execute()).toEqual([{ run_id: run }])
    expect((await api.call('GET', `/agent/runs/${over}`)).body).toMatchObject({ state: 'SUCCEEDED', creator: { uid } })
    for (const table of ['schedules', 'environments', 'identities', 'shared_items'] as const) {
      const rows = await api.db.selectFrom(table).selectAll().where('team', '=', team).execute()
      expect(rows).not.toEqual([])
      expect(JSON.stringify(rows)).not.toContain(SEALED_MARK)
    }
    const versions = await api.db
      .selectFrom('shared_item_versions')
      .innerJoin('shared_items', 'shared_items.uid', 'shared_item_versions.uid')
      .select('shared_item_versions.content')
      .where('team', '=', team)
      .execute()
    expect(versions).toHaveLength(1)
    expect(JSON.stringify(versions)).not.toContain(SEALED_MARK)
    expect(await api.db.selectFrom('budgets').selectAll().where('team', '=', team).execute()).toEqual([])
    for (const table of ['schedules', 'environments', 'identities', 'shared_items'] as const)
      expect(
        await api.db.selectFrom(table).selectAll().where('team', '=', team).where('deleted_at', 'is', null).execute(),
      ).toEqual([])
    expect(await api.db.selectFrom('secrets').selectAll().where('team', '=', team).execute()).toEqual([])
    const { entries } = (await api.call('GET', '/agent/audit-log?action=teams.delete&all=true')).body
    expect(entries).toMatchObject([{ thing: { uid: team }, detail: { cancelled_runs: 1 } }])
  })

  test('as a person is forgotten: what they did for their team stays, and what was theirs alone goes', async () => {
    const inPlatform = { 'x-warp-team-uid': platform }
    const { uid, email, key } = await given('member')
    const colleague = await given('member')
    const ofTeam = (await as(key)('POST', '/runs', { prompt: 'x' })).body.run_id
    const own = (await as(key)('POST', '/runs', { prompt: 'y', team: false })).body.run_id
    const { id } = (await as(key)('POST', '/schedules', { ...shown, name: 'of the team' })).body
    await as(key)('POST', '/schedules', { ...shown, name: 'own', team: false })
    expect((await as(key)('POST', '/rules', { name: 'own', text: 'Be kind.', team: false })).status).toBe(201)
    expect((await api.call('POST', '/agent/budgets', { scope: 'person', uid, usd: 5 }, inPlatform)).status).toBe(201)
    expect((await as(colleague.key)('DELETE', `/people/${uid}`)).status).toBe(403)
    expect((await api.call('DELETE', `/agent/people/${uid}`)).body).toEqual({
      cancelled_runs: 1,
      deleted_schedules: 1,
      revoked_keys: 1,
    })
    expect((await as(key)('GET', '/me')).status).toBe(401)
    expect((await api.call('GET', `/agent/people/${uid}`)).status).toBe(404)
    const rules = (await api.call('GET', '/agent/rules', undefined, inPlatform)).body.rules
    expect(rules.filter(({ scope }: { scope: { uid: string } }) => scope.uid === uid)).toEqual([])
    expect((await api.call('GET', '/agent/budgets', undefined, inPlatform)).body.budgets).toEqual([])
    const cancels = api.db.selectFrom('mail').select('run_id').where('kind', '=', 'cancel')
    expect(await cancels.where('run_id', 'in', [ofTeam, own]).execute()).toEqual([{ run_id: own }])
    const run = (await as(colleague.key)('GET', `/runs/${ofTeam}`)).body
    expect(run.creator).toMatchObject({ uid, display_name: 'Deleted person' })
    expect(JSON.stringify(await api.db.selectFrom('people').selectAll().execute())).not.toContain(email)
    const paused = (await as(colleague.key)('GET', `/schedules/${id}`)).body
    expect(paused).toMatchObject({ enabled: false, paused_reason: expect.stringContaining('was deleted') })
    expect((await as(colleague.key)('POST', `/schedules/${id}/resume`)).body).toMatchObject({ enabled: true })
    // The address is free for somebody else.
    const again = await api.call('POST', `/agent/teams/${platform}/members`, { email })
    expect(again.status).toBe(201)
    expect(again.body.uid).not.toBe(uid)
  })
})

/** What the command line says to the holder of this key. */
async function ok(key: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ambient(args, {
    url: api.url,
    env: { AMBIENT_API_KEY: key, AMBIENT_TEAM: '' },
  })
  expect({ args, code, said: code === 0 ? '' : stderr }).toEqual({ args, code: 0, said: '' })
  return stdout
}

test('the command line lets somebody in, tells them who they are, and shares what they made', async () => {
  const email = `p${randomUUID().slice(0, 8)}@example.org`
  await ok(api.key, 'members', 'add', email, '--team', 'Sales', '--role', 'admin')
  const key = (
    await ok(api.key, 'keys', 'create', 'laptop', '--person', email, '--scope', 'manage', '--days', '9')
  ).trim()
  expect(await ok(key, 'whoami')).toMatch(
    /^p\w+@example.org .*\nTeam: Sales \(\w{22}\), as admin\nKey: good for "manage", until/,
  )
  const run = (await as(key)('POST', '/runs', { prompt: 'x' })).body.run_id
  // A run of another team is found by the beginning of its id by those with whom it is shared.
  const other = await given('member')
  expect(await ok(key, 'shares', 'add', run, '--person', other.email)).toContain('view')
  expect(await ok(other.key, 'runs', 'show', run.slice(0, 13))).toContain(run)
  expect(await ok(key, 'shares', 'add', run, '--person', email, '--level', 'steer')).toBe(`${email}: steer\n`)
})

test('the command line makes a service account, has runs work as it by its name, changes and deletes it', async () => {
  const { key } = await given('admin', sales)
  const accounts = async () => (await as(key)('GET', '/identities')).body.agents
  const ours = async () => (await accounts()).find(({ name }: { name: string }) => name === 'ci')
  await ok(key, 'service-accounts', 'create', 'ci', '--prompt', 'Be brief.', '--agent', 'claude', '--model', 'm1')
  await ok(key, 'service-accounts', 'update', 'ci', '--model', 'm2', '--description', 'of the pipeline')
  const { uid, ...shown } = await ours()
  expect(shown).toMatchObject({
    prompt: 'Be brief.',
    description: 'of the pipeline',
    harness: { type: 'claude', model_id: 'm2' },
  })
  expect(await ok(key, 'service-accounts')).toMatch(new RegExp(`^ci +${uid} +claude +m2 +of the pipeline$`, 'm'))
  const run = (await ok(key, 'run', '--as', 'ci', 'Look at it', '--detach')).trim()
  expect((await as(key)('GET', `/runs/${run}`)).body).toMatchObject({ executor: { uid } })
  const own = (await ok(key, 'keys', 'create', 'pipeline', '--service-account', 'ci')).trim()
  expect((await as(own)('GET', '/me')).body).toMatchObject({ type: 'service_account', uid })
  await ok(key, 'service-accounts', 'update', 'ci', '--prompt', '')
  expect(await ours()).toMatchObject({ prompt: null, harness: { model_id: 'm2' } })
  // What the command line has no option for stays, as does the agent.
  const harness = { type: 'command', model_id: 'm2', reasoning_level: 'high', command: ['make', 'test'] }
  await as(key)('PUT', `/identities/${uid}`, { harness })
  const { harness: before } = await ours()
  expect(before).toMatchObject({ reasoning_level: 'high', command: ['make', 'test'] })
  await ok(key, 'service-accounts', 'update', 'ci', '--model', 'm3')
  expect((await ours()).harness).toEqual({ ...before, model_id: 'm3' })
  await ok(key, 'service-accounts', 'update', 'ci', '--model', '')
  expect((await ours()).harness).toEqual({ ...before, model_id: null })
  await ok(key, 'service-accounts', 'delete', 'ci')
  expect(await ours()).toBeUndefined()
})
