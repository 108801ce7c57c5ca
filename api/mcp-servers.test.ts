import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resolveServer } from '../secrets/mcp/resolve.ts'
import { openServer } from '../secrets/mcp/values.ts'
import { type Body, startTestApi, type TestApi } from '../test/support/api.ts'

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api?.close())

const LITERAL = 'literal-value-of-a-header'
const REFERENCE = `Bearer \${TICKETS_TOKEN}`
const store = (body: object) => api.call('POST', '/agent/mcp-servers', body)
const web = (name: string) => ({
  name,
  url: 'https://mcp.example.com/mcp',
  headers: { authorization: REFERENCE, 'x-key': LITERAL },
})
const shownHeaders = { authorization: REFERENCE, 'x-key': '***' }

/** What a run of these servers is given by the gateway. */
async function given(config: object, name: string, more: object = {}) {
  const { body, status } = await api.call('POST', '/agent/runs', { prompt: 'p', config, ...more })
  if (status !== 200) throw new Error(JSON.stringify(body))
  return { runId: body.run_id as string, server: await resolveServer(api.db, api.vault, body.run_id, name) }
}

/** Everything that the database has, as text. */
async function rows(): Promise<string> {
  const tables = [
    'mcp_servers',
    'runs',
    'schedules',
    'identities',
    'shared_items',
    'idempotency',
    'audit_inbox',
    'audit_log',
  ]
  const all = await Promise.all(tables.map((table) => sql`select * from ${sql.table(table)}`.execute(api.db)))
  return JSON.stringify(all.map(({ rows: found }) => found))
}

/** What a member of the team with a key of this scope sends with each request. */
async function someone(scope: string): Promise<{ authorization: string }> {
  const email = `p${randomUUID().slice(0, 8)}@example.org`
  await api.call('POST', '/agent/teams/default/members', { email, role: 'member' })
  const { body: made } = await api.call('POST', '/agent/api-keys', { name: 'k', scope, person: email })
  return { authorization: `Bearer ${made.key}` }
}

describe('a stored server', () => {
  test('is shown without its values, changed by what is sent back as shown, and deleted, which is noted', async () => {
    const made = await store(web('tickets'))
    expect(made.status).toBe(201)
    expect(made.body).toMatchObject({ name: 'tickets', team: 'default', headers: shownHeaders })
    const path = `/agent/mcp-servers/${made.body.uid}`
    expect((await store(web('tickets'))).status).toBe(409)

    const { uid: _, team: _team, creator: _creator, created_at: _at, updated_at: _then, ...shown } = made.body
    const changed = await api.call('PUT', path, { ...shown, description: 'The tickets', required: true })
    expect(changed.body).toMatchObject({ description: 'The tickets', required: true, headers: shownHeaders })
    expect((await api.call('GET', '/agent/mcp-servers')).body.mcp_servers).toEqual([changed.body])
    const elsewhere = await api.call('PUT', path, { ...shown, url: 'https://other.example.com/mcp' })
    expect([elsewhere.status, elsewhere.body.detail]).toEqual([400, expect.stringContaining('give it anew')])
    const { server } = await given({ mcp_servers: { t: { warp_id: made.body.uid } } }, 't', {
      environment: { env: { TICKETS_TOKEN: 'of-the-environment' } },
    })
    expect(server).toMatchObject({ headers: { authorization: 'Bearer of-the-environment', 'x-key': LITERAL } })
    expect(await rows()).not.toContain(LITERAL)

    expect((await api.call('DELETE', path)).status).toBe(204)
    expect((await api.call('GET', path)).status).toBe(404)
    const { body: log } = await api.call('GET', '/agent/audit-log?thing_type=mcp_server')
    expect(log.entries.map(({ action }: Body) => action)).toEqual([
      'mcp_servers.delete',
      'mcp_servers.update',
      'mcp_servers.create',
    ])
  })

  test('has the values in the query of its URL sealed as well', async () => {
    const url = (key: string) =>
      `https://q.example.com/mcp?view=\${VIEW}&key=${key}&key=${key.replace(LITERAL, 'second')}`
    const { body: made } = await store({ name: 'query', url: url(LITERAL) })
    expect(made.url).toBe(url('***'))
    expect(await rows()).not.toContain(LITERAL)
    const path = `/agent/mcp-servers/${made.uid}`
    const again = { name: 'query', description: 'changed' }
    expect((await api.call('PUT', path, { ...again, url: 'https://else.example.com/mcp?key=***' })).status).toBe(400)
    expect((await api.call('PUT', path, { ...again, url: url('***') })).body.url).toBe(url('***'))
    const { runId, server } = await given({ mcp_servers: { q: { warp_id: 'query' } } }, 'q', {
      environment: { env: { VIEW: 'all' } },
    })
    expect(server).toMatchObject({ type: 'http', url: new URL(url(LITERAL).replace(`\${VIEW}`, 'all')) })
    await api.hold(runId)
    const { body: order } = await api.host('GET', `/runs/${runId}/executions/1`)
    expect(order.hidden_values).toContain(LITERAL)
  })

  test('shows its arguments and the path of its URL to those who may manage it, and to nobody else', async () => {
    const program = { name: 'program', command: 'npx', args: ['-y', `--token=${LITERAL}`, `\${VIEW}`] }
    const site = { name: 'site', url: `https://s.example.com/s/${LITERAL}/mcp` }
    const made = [await store(program), await store(site)].map(({ body }) => body)
    expect(made).toMatchObject([program, site])
    expect(await rows()).not.toContain(LITERAL)
    const asReader = await someone('run')
    const hidden = [{ args: ['***', '***', `\${VIEW}`] }, { url: 'https://s.example.com/***' }]
    for (const [at, { uid }] of made.entries()) {
      const path = `/agent/mcp-servers/${uid}`
      expect((await api.call('GET', path)).body).toEqual(made[at])
      expect((await api.call('GET', path, undefined, asReader)).body).toMatchObject(hidden[at] ?? {})
      expect((await api.call('PUT', path, { ...[program, site][at], ...hidden[at] })).body).toMatchObject(
        [program, site][at] ?? {},
      )
    }
    const config = { mcp_servers: { a: { warp_id: 'program' }, b: { warp_id: 'site' } } }
    const { runId, server } = await given(config, 'a', { environment: { env: { VIEW: 'all' } } })
    expect(server).toMatchObject({ command: 'npx', args: ['-y', `--token=${LITERAL}`, 'all'] })
    expect(await resolveServer(api.db, api.vault, runId, 'b')).toMatchObject({ url: new URL(site.url) })
    const { body: run } = await api.call('GET', `/agent/runs/${runId}`)
    expect(run.agent_config.mcp_servers).toEqual({ a: { command: 'npx', ...hidden[0] }, b: hidden[1] })
    await api.hold(runId)
    const { body: order } = await api.host('GET', `/runs/${runId}/executions/1`)
    expect(order.hidden_values).toContain(LITERAL)
  })

  test('is shown alike where a schedule, a service account or a profile names it', async () => {
    const servers = { a: { command: 'x', args: [LITERAL] }, b: { url: `https://a.example/${LITERAL}` } }
    const hidden = { a: { command: 'x', args: ['***'] }, b: { url: 'https://a.example/***' } }
    const asReader = await someone('run')
    const schedule = { cron_schedule: '0 0 1 1 *', prompt: 'p', enabled: false, agent_config: { mcp_servers: servers } }
    const kinds = [
      ['/agent/schedules', { name: 'shown', ...schedule }, 'schedules', (item: Body) => item.agent_config.mcp_servers],
      ['/agent/identities', { name: 'shown', mcp_servers: servers }, 'agents', (item: Body) => item.mcp_servers],
      [
        '/agent/profiles',
        { name: 'shown', config: { mcp_servers: servers } },
        'profiles',
        (item: Body) => item.config.mcp_servers,
      ],
    ] as const
    for (const [path, body, list, of] of kinds) {
      const { body: made } = await api.call('POST', path, body)
      const own = `${path}/${made.id ?? made.uid}`
      const answers = async (headers?: Record<string, string>) => {
        const { body: all } = await api.call('GET', path, undefined, headers)
        const { body: one } = await api.call('GET', own, undefined, headers)
        return [one, all[list].find(({ name }: Body) => name === 'shown')].map(of)
      }
      expect([of(made), ...(await answers())]).toEqual([servers, servers, servers])
      expect(await answers(asReader)).toEqual([hidden, hidden])
      const again = JSON.parse(JSON.stringify(body).replaceAll(JSON.stringify(servers), JSON.stringify(hidden)))
      expect(of((await api.call('PUT', own, again)).body)).toEqual(servers)
    }
    expect(await rows()).not.toContain(LITERAL)
  })

  test.each([
    [{ name: 'a' }, 'exactly one of command and url'],
    [{ name: 'ambient', command: 'a' }, 'must not begin with'],
    [{ name: 'a', command: 'a', env: { A: '***' } }, 'there is none'],
    [{ name: 'a', warp_id: 'b', command: 'a' }, 'warp_id'],
  ])('that makes no sense is refused: %j', async (body, words) => {
    const { status, body: problem } = await store(body)
    expect([status, problem.detail]).toEqual([400, expect.stringContaining(words)])
  })

  test('is its team’s alone', async () => {
    const { body: stored } = await store({ name: 'ours', command: 'x' })
    const { body: team } = await api.call('POST', '/agent/teams', { name: 'Others' })
    const others = { 'x-warp-team-uid': team.uid }
    expect((await api.call('GET', '/agent/mcp-servers', undefined, others)).body.mcp_servers).toEqual([])
    expect((await api.call('GET', `/agent/mcp-servers/${stored.uid}`, undefined, others)).status).toBe(404)
    const run = { prompt: 'p', config: { mcp_servers: { a: { warp_id: stored.uid } } } }
    const { status, body } = await api.call('POST', '/agent/runs', run, others)
    expect([status, body.detail]).toEqual([400, expect.stringContaining('the team has no MCP server')])
  })
})

describe('a run', () => {
  test('keeps the stored server that it began with, by its uid or name', async () => {
    const { body: stored } = await store({ name: 'kept', command: 'first', required: true })
    const config = { mcp_servers: { a: { warp_id: stored.uid }, b: { warp_id: 'kept', required: false } } }
    const { runId, server } = await given(config, 'a')
    await api.call('PUT', `/agent/mcp-servers/${stored.uid}`, { name: 'kept', command: 'second' })
    expect(server).toMatchObject({ type: 'stdio', command: 'first' })
    const { body: run } = await api.call('GET', `/agent/runs/${runId}`)
    expect(run.agent_config.mcp_servers).toEqual({
      a: { command: 'first', required: true },
      b: { command: 'first', required: false },
    })
    await api.hold(runId)
    const { body: order } = await api.host('GET', `/runs/${runId}/executions/1`)
    expect(order.mcp_servers).toEqual([
      { name: 'a', type: 'stdio', required: true, start_seconds: 30 },
      { name: 'b', type: 'stdio', required: false, start_seconds: 30 },
    ])
  })

  test('has its values sealed wherever they come from: a request, a schedule, a service account', async () => {
    const servers = { a: { url: 'https://a.example', headers: { 'x-key': LITERAL } } }
    const hidden = { a: { url: 'https://a.example', headers: { 'x-key': '***' } } }
    const { runId } = await given({ mcp_servers: servers }, 'a')
    const { body: run } = await api.call('GET', `/agent/runs/${runId}`)
    expect(run.agent_config.mcp_servers).toEqual(hidden)

    const schedule = {
      name: 's',
      cron_schedule: '0 0 1 1 *',
      prompt: 'p',
      enabled: false,
      agent_config: { mcp_servers: servers },
    }
    const { body: made } = await api.call('POST', '/agent/schedules', schedule)
    expect(made.agent_config.mcp_servers).toEqual(hidden)
    const again = { ...schedule, agent_config: { mcp_servers: hidden } }
    expect((await api.call('PUT', `/agent/schedules/${made.id}`, again)).status).toBe(200)
    const { body: now } = await api.call('POST', `/agent/schedules/${made.id}/run`)
    expect(await resolveServer(api.db, api.vault, now.run_id, 'a')).toMatchObject({ headers: { 'x-key': LITERAL } })

    const { body: agent } = await api.call('POST', '/agent/identities', { name: 'agent', mcp_servers: servers })
    expect(agent.mcp_servers).toEqual(hidden)
    const asAgent = { agent_identity_uid: agent.uid }
    expect((await given({}, 'a', asAgent)).server).toMatchObject({ headers: { 'x-key': LITERAL } })
    expect((await given({ mcp_servers: {} }, 'a', asAgent)).server).toBeNull()
    expect(await rows()).not.toContain(LITERAL)
  })

  test.each([
    ['profiles', 'shared_items', 'uid', (mcp_servers: object) => ({ config: { mcp_servers } })],
    [
      'schedules',
      'schedules',
      'id',
      (mcp_servers: object) => ({
        cron_schedule: '0 0 1 1 *',
        prompt: 'p',
        enabled: false,
        agent_config: { mcp_servers },
      }),
    ],
    ['identities', 'identities', 'uid', (mcp_servers: object) => ({ mcp_servers })],
    ['mcp-servers', 'mcp_servers', 'uid', (servers: { a?: object }) => ({ ...servers.a })],
  ] as const)('has the newest value where two change it at once: %s', async (path, table, id, bodyOf) => {
    const servers = (key: string) => ({ a: { url: 'https://t.example', headers: { 'x-key': key } } })
    const name = `at-once-${randomUUID().slice(0, 8)}`
    const put = (key: string) => api.call('PUT', `/agent/${path}/${made[id]}`, { name, ...bodyOf(servers(key)) })
    const { body: made } = await api.call('POST', `/agent/${path}`, { name, ...bodyOf(servers('former-value')) })
    const waiting = async () => {
      const { rows: found } = await sql<{ count: number }>`
        select count(*)::integer from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
      `.execute(api.db)
      return found[0]?.count
    }
    const row = await api.db.transaction().execute(async (tx) => {
      await sql`select from ${sql.table(table)} where ${sql.ref(id)} = ${made[id]} for update`.execute(tx)
      const first = put('newer-value')
      await expect.poll(waiting).toBe(1)
      const second = put('***')
      await expect.poll(waiting).toBe(2)
      return { both: Promise.all([first, second]) }
    })
    expect((await row.both).map(({ status }) => status)).toEqual([200, 200])
    const { rows: kept } = await sql`select * from ${sql.table(table)} where ${sql.ref(id)} = ${made[id]}`.execute(
      api.db,
    )
    const [sealed = ''] = /ambient-sealed:[\w-]+/.exec(JSON.stringify(kept)) ?? []
    const config = openServer(api.vault, 'default', { headers: { 'x-key': sealed } })
    expect(config.headers).toEqual({ 'x-key': 'newer-value' })
  })

  test('gives servers the secrets of its scope that they name, also those that its sandbox is not given', async () => {
    await api.call('POST', '/agent/secrets', { name: 'OF_TEAM', value: 'value-of-the-team' })
    const config = { secrets: [], mcp_servers: { a: { command: 'x', env: { A: `\${OF_TEAM}` } } } }
    expect((await given(config, 'a')).server).toMatchObject({ env: { A: 'value-of-the-team' } })
    const { runId } = await given(config, 'a')
    await api.hold(runId)
    const { body: order } = await api.host('GET', `/runs/${runId}/executions/1`)
    expect([order.secrets, order.hidden_values]).toEqual([[], ['value-of-the-team']])
    const stored = await store({ name: 'open', command: 'x', args: [`--key=\${OF_TEAM}`] })
    expect([stored.status, stored.body.detail]).toEqual([400, expect.stringContaining('OF_TEAM} is a secret')])
    const open = { mcp_servers: { a: { command: 'x', args: [`--key=\${OF_TEAM}`] } } }
    expect((await given(open, 'a')).server).toMatchObject({
      type: 'trouble',
      message: expect.stringContaining('is a secret, and an argument can be read'),
    })
  })

  test('sends nobody’s personal secret to a server that somebody else has stored', async () => {
    await api.call('POST', '/agent/secrets', { name: 'MINE', value: 'personal-value', scope: 'person' })
    const { body: stored } = await store({
      name: 'curious',
      url: 'https://c.example',
      headers: { 'x-key': `\${MINE}` },
    })
    const servers = { mcp_servers: { a: { warp_id: stored.uid } } }
    expect((await given(servers, 'a')).server).toMatchObject({ type: 'trouble' })
    // Named by its owner, who begins the run.
    expect((await given({ ...servers, secrets: ['MINE'] }, 'a')).server).toMatchObject({
      headers: { 'x-key': 'personal-value' },
    })
  })

  test('lends a personal secret to no server that somebody else has its runs use, though its owner names the secret', async () => {
    const servers = { mcp_servers: { a: { url: 'https://l.example', headers: { 'x-key': `\${LENT}` } } } }
    const [anna, ben] = [await someone('manage'), await someone('manage')]
    const by = (who: typeof anna, path: string, body: object) => api.call('POST', path, body, who)
    await by(anna, '/agent/secrets', { name: 'LENT', value: 'value-of-anna', scope: 'person' })
    const profile = (who: typeof anna, more: object) =>
      by(who, '/agent/profiles', { name: `p${randomUUID().slice(0, 8)}`, config: servers, ...more })
    const serverIn = async (who: typeof anna, config: object) => {
      const { body } = await by(who, '/agent/runs', { prompt: 'p', config })
      return resolveServer(api.db, api.vault, body.run_id, 'a')
    }
    const lent = { headers: { 'x-key': 'value-of-anna' } }
    const secrets = ['LENT']
    // She names both, in a request or in a profile of her own.
    const { body: hers } = await profile(anna, { team: false })
    expect(await serverIn(anna, { ...servers, secrets })).toMatchObject(lent)
    expect(await serverIn(anna, { profile: hers.uid, secrets })).toMatchObject(lent)
    // The team's default profile, and one that she names, are others' words, whoever wrote them.
    const { body: shared } = await profile(ben, { default: true })
    expect(await serverIn(anna, { secrets })).toMatchObject({ type: 'trouble' })
    expect(await serverIn(anna, { profile: shared.uid, secrets })).toMatchObject({ type: 'trouble' })
    // Nor does anybody else's run get it, by whatever profile.
    expect(await serverIn(ben, {})).toMatchObject({ type: 'trouble' })
    expect((await by(ben, '/agent/runs', { prompt: 'p', config: { secrets } })).status).toBe(422)
    // An admin may write in her profile, and that is not her word.
    const changed = await api.call('PUT', `/agent/profiles/${hers.uid}`, { name: hers.name, config: servers })
    expect(changed.status).toBe(200)
    expect(await serverIn(anna, { profile: hers.uid, secrets })).toMatchObject({ type: 'trouble' })
    await api.call('DELETE', `/agent/profiles/${shared.uid}`)
  })

  test('of a command has none', async () => {
    const config = { harness: { type: 'command', command: ['true'] }, mcp_servers: { a: { command: 'x' } } }
    const { status, body } = await api.call('POST', '/agent/runs', { prompt: 'p', config })
    expect([status, body.detail]).toEqual([422, expect.stringContaining('a command has no MCP servers')])
  })
})
