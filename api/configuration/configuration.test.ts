import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ambient } from '../../cli/testing/command.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'

// What is kept for runs, and what a run makes of it: all over HTTP.
let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

let named = 0
const name = (what: string) => `${what} ${++named}`
const key = (given: string, team: string) => ({ authorization: `Bearer ${given}`, 'x-warp-team-uid': team })

/** A team of its own, so that no default of one test holds in another. */
async function newTeam() {
  const team: string = (await api.call('POST', '/agent/teams', { name: name('team') })).body.uid
  const call = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    api.call(method, `/agent${path}`, body, { 'x-warp-team-uid': team, ...headers })
  const start = async (body: object, headers?: Record<string, string>) => {
    const started = await call('POST', '/runs', { prompt: 'x', ...body }, headers)
    if (started.status !== 200) throw new Error(JSON.stringify(started.body))
    return (await call('GET', `/runs/${started.body.run_id}`)).body
  }
  const member = async (role = 'member') => {
    const email = `p${randomUUID().slice(0, 8)}@example.org`
    const { body } = await call('POST', `/teams/${team}/members`, { email, role })
    const made = await call('POST', '/api-keys', { name: 'k', scope: 'admin', person: email })
    return { uid: body.uid as string, headers: key(made.body.key, team) }
  }
  return { team, call, start, member }
}

/** What the host of a run is told. */
async function orderOf(runId: string) {
  await api.hold(runId)
  return (await api.host('GET', `/runs/${runId}/executions/1`, undefined, HOST)).body
}

describe('a configuration', () => {
  test('is the request over the profile over the service account over the environment over the team, and says so', async () => {
    const { call, start } = await newTeam()
    const environment = (
      await call('POST', '/environments', { name: 'web', max_run_minutes: 40, max_turn_minutes: 10, prepare: false })
    ).body.uid
    const profile = (
      await call('POST', '/profiles', {
        name: 'reviewer',
        config: {
          harness: { type: 'claude', model_id: 'model-of-profile', reasoning_level: 'high' },
          permission_policy: 'deny',
          environment_id: environment,
          max_run_minutes: 30,
        },
      })
    ).body
    await call('POST', '/profiles', {
      name: 'everybody',
      default: true,
      config: { base_prompt: 'Of the team.', max_disk_gb: 3, max_turn_minutes: 5 },
    })
    const account = (
      await call('POST', '/identities', {
        name: 'Bot',
        prompt: 'Of the account.',
        worker_host: 'pool-of-account',
        base_model: 'model-of-account',
      })
    ).body
    const run = await start({
      agent_identity_uid: account.uid,
      config: { profile: 'reviewer', harness: { model_id: 'model-of-request' } },
    })
    const ofProfile = { type: 'profile', uid: profile.uid, name: 'reviewer', version: 1 }
    const ofAccount = { type: 'service_account', uid: account.uid, name: 'Bot' }
    expect(run.agent_config).toMatchObject({
      harness: { type: 'claude', model_id: 'model-of-request', reasoning_level: 'high' },
      permission_policy: 'deny',
      base_prompt: 'Of the account.',
      worker_host: 'pool-of-account',
      environment_id: environment,
      max_run_minutes: 30,
      max_turn_minutes: 10,
    })
    expect(run.agent_config.profile).toBeUndefined()
    expect(run.configuration).toEqual({
      sources: {
        'harness.agent': ofProfile,
        'harness.reasoning_level': ofProfile,
        model_id: { type: 'request' },
        permission_policy: ofProfile,
        environment_id: ofProfile,
        max_run_minutes: ofProfile,
        base_prompt: ofAccount,
        worker_host: ofAccount,
        max_turn_minutes: { type: 'environment', uid: environment, name: 'web' },
      },
      profile: { uid: profile.uid, name: 'reviewer', version: 1 },
      saved_prompt: null,
      rules: [],
    })

    const other = await start({})
    expect(other.agent_config).toMatchObject({ base_prompt: 'Of the team.', max_disk_gb: 3, max_turn_minutes: 5 })
    expect(other.configuration.sources.max_disk_gb).toMatchObject({ type: 'team', name: 'everybody' })
    expect((await start({ config: { profile: '' } })).configuration.profile).toBeNull()
    expect((await start({ team: false })).configuration.profile).toBeNull()
  })

  test('that names another agent takes over neither model nor command of what is below it', async () => {
    const { call, start } = await newTeam()
    await call('POST', '/profiles', {
      name: 'p',
      default: true,
      config: { harness: { type: 'claude', model_id: 'claude-x', reasoning_level: 'high' } },
    })
    const run = await start({ config: { harness: { type: 'codex' } } })
    expect(run.agent_config.harness).toMatchObject({ agent: 'codex', model_id: null, reasoning_level: null })
    expect(run.configuration.sources).toEqual({ 'harness.agent': { type: 'request' } })
  })

  test('is lowered to what the environment allows where a profile has more, and refused where the request does', async () => {
    const { call, start } = await newTeam()
    const id = (await call('POST', '/environments', { name: 'e', max_run_minutes: 10, prepare: false })).body.uid
    await call('POST', '/profiles', { name: 'p', config: { max_run_minutes: 20, environment_id: id } })
    const run = await start({ config: { profile: 'p' } })
    expect(run.agent_config.max_run_minutes).toBe(10)
    expect(run.configuration.sources.max_run_minutes).toEqual({ type: 'environment', uid: id, name: 'e' })
    const refused = await call('POST', '/runs', { prompt: 'x', config: { profile: 'p', max_run_minutes: 20 } })
    expect(refused.body.detail).toBe('config.max_run_minutes: is more than the environment "e" allows: 10')
  })

  test('is lowered to what the team allows, whoever has more or says nothing, and refused where the request does', async () => {
    const { team, call, start } = await newTeam()
    const asked = { max_turn_minutes: 20, max_run_minutes: 30, max_transcript_mb: 5, max_disk_gb: 2 }
    const limits = { ...asked, max_idle_minutes: 0 }
    expect((await call('PATCH', `/teams/${team}`, { limits })).body.limits).toEqual(limits)
    const id = (await call('POST', '/environments', { name: 'e', max_run_minutes: 60, prepare: false })).body.uid
    await call('POST', '/profiles', { name: 'p', config: { max_turn_minutes: 25, environment_id: id } })
    const ofTeam = { type: 'team' }
    for (const config of [{}, { profile: 'p' }]) {
      const { agent_config, configuration } = await start({ config })
      expect(agent_config).toMatchObject({ ...asked, idle_timeout_minutes: 0 })
      const { max_turn_minutes, max_run_minutes, idle_timeout_minutes } = configuration.sources
      expect([max_turn_minutes, max_run_minutes, idle_timeout_minutes]).toEqual([ofTeam, ofTeam, ofTeam])
    }
    expect((await start({ config: { max_turn_minutes: 20 } })).configuration.sources.max_turn_minutes.type).toBe(
      'request',
    )
    for (const [field, more] of Object.entries({ ...asked, idle_timeout_minutes: 0 })) {
      const { status, body } = await call('POST', '/runs', { prompt: 'x', config: { [field]: more + 1 } })
      expect([status, body.detail]).toEqual([400, `config.${field}: is more than the team allows: ${more}`])
    }
    const changed = await call('PATCH', `/teams/${team}`, { limits: { max_turn_minutes: null } })
    expect(changed.body.limits).toEqual({ ...limits, max_turn_minutes: null })
    expect((await start({ config: { max_turn_minutes: 25 } })).agent_config.max_turn_minutes).toBe(25)
  })

  test('stays as it was when the profile changes; a former version can be asked for', async () => {
    const { call, start } = await newTeam()
    const { body: profile } = await call('POST', '/profiles', { name: 'p', config: { base_prompt: 'One.' } })
    const before = await start({ config: { profile: 'p' } })
    const changed = await call('PUT', `/profiles/${profile.uid}`, {
      ...profile,
      config: { base_prompt: 'Two.' },
    })
    expect(changed.body).toMatchObject({ version: 2, config: { base_prompt: 'Two.' } })
    const again = await call('GET', `/runs/${before.run_id}`)
    expect(again.body.agent_config.base_prompt).toBe('One.')
    expect(again.body.configuration.profile.version).toBe(1)
    expect((await start({ config: { profile: profile.uid } })).agent_config.base_prompt).toBe('Two.')
    const former = await start({ config: { profile: 'p', profile_version: 1 } })
    expect(former.agent_config.base_prompt).toBe('One.')
    expect(former.configuration.profile).toEqual({ uid: profile.uid, name: 'p', version: 1 })
    const none = await call('POST', '/runs', { prompt: 'x', config: { profile: 'p', profile_version: 9 } })
    expect(none.body.detail).toBe('config.profile_version: the profile "p" has no version 9')
  })

  test('of a service account has its profile below it, which cannot be deleted meanwhile', async () => {
    const { call, start } = await newTeam()
    const { body: profile } = await call('POST', '/profiles', {
      name: 'p',
      config: { base_prompt: 'Of the profile.', permission_policy: 'ask' },
    })
    const { body: account } = await call('POST', '/identities', {
      name: 'Bot',
      prompt: 'Of the account.',
      profile_uid: profile.uid,
    })
    expect(account.profile_uid).toBe(profile.uid)
    const run = await start({ agent_identity_uid: account.uid })
    expect(run.agent_config).toMatchObject({ base_prompt: 'Of the account.', permission_policy: 'ask' })
    expect((await call('DELETE', `/profiles/${profile.uid}`)).body.detail).toContain('The service account "Bot" names')
    await call('PUT', `/identities/${account.uid}`, { profile_uid: '' })
    expect((await call('DELETE', `/profiles/${profile.uid}`)).status).toBe(204)
    const wrong = await call('PUT', `/identities/${account.uid}`, { profile_uid: profile.uid })
    expect(wrong.body.detail).toBe(`profile_uid: the team has no profile ${profile.uid}`)
  })
})

describe('a profile', () => {
  test('is refused with what no run could have, and for a name that is taken', async () => {
    const { call } = await newTeam()
    const refused = async (config: object) => (await call('POST', '/profiles', { name: name('p'), config })).body.detail
    expect(await refused({ max_run_minutes: 9_999_999 })).toContain('config.max_run_minutes: is more than this server')
    expect(await refused({ harness: { type: 'command' } })).toContain('is required by the command harness')
    expect(await refused({ environment_id: 'A'.repeat(22) })).toContain('the team has no environment')
    expect(await refused({ base_promt: 'x' })).toBe('config.base_promt: is not known here. Is base_prompt meant?')
    expect(await refused({ profile: 'x' })).toContain('config.profile: is not known here')
    await call('POST', '/profiles', { name: 'twice' })
    const twice = await call('POST', '/profiles', { name: 'twice' })
    expect([twice.status, twice.body.detail]).toEqual([409, 'name: There is a profile "twice" already.'])
  })

  test('keeps every version, and takes no change of one that was read before another change', async () => {
    const { call } = await newTeam()
    const { body: first } = await call('POST', '/profiles', { name: 'p', description: 'first' })
    expect((await call('PUT', `/profiles/${first.uid}`, { name: 'q', version: 1 })).status).toBe(200)
    const late = await call('PUT', `/profiles/${first.uid}`, { name: 'r', version: 1 })
    expect([late.status, late.body.detail]).toEqual([409, 'version: It is at version 2 by now. Read it again.'])
    expect((await call('GET', `/profiles/${first.uid}?version=1`)).body).toMatchObject({
      name: 'p',
      description: 'first',
      version: 1,
    })
    const page = (await call('GET', `/profiles/${first.uid}/versions?limit=1`)).body
    expect([page.versions[0].version, page.page_info]).toEqual([2, { has_next_page: true, next_cursor: '2' }])
    const rest = (await call('GET', `/profiles/${first.uid}/versions?cursor=2`)).body
    expect(rest).toMatchObject({ versions: [{ version: 1, name: 'p' }], page_info: { has_next_page: false } })
  })

  test('is the default of its team alone, and only one is', async () => {
    const { call } = await newTeam()
    const one = (await call('POST', '/profiles', { name: 'one', default: true })).body
    await call('POST', '/profiles', { name: 'two', default: true })
    const list = (await call('GET', '/profiles')).body.profiles
    expect(list.map((item: { name: string; default: boolean }) => [item.name, item.default])).toEqual([
      ['one', false],
      ['two', true],
    ])
    const { call: others } = await newTeam()
    expect((await others('GET', '/profiles')).body.profiles).toEqual([])
    expect((await others('GET', `/profiles/${one.uid}`)).status).toBe(404)
    expect((await others('PUT', `/profiles/${one.uid}`, { name: 'mine' })).status).toBe(404)
  })

  test('that is personal is for its owner, before the team’s of the same name', async () => {
    const { call, member } = await newTeam()
    const [mine, other] = [await member(), await member()]
    await call('POST', '/profiles', { name: 'p', config: { base_prompt: 'Ours.' } })
    const own = await call(
      'POST',
      '/profiles',
      { name: 'p', team: false, config: { base_prompt: 'Mine.' } },
      mine.headers,
    )
    expect(own.body.scope).toEqual({ type: 'User', uid: mine.uid })
    expect((await call('GET', `/profiles/${own.body.uid}`, undefined, other.headers)).status).toBe(404)
    const said = async (headers: Record<string, string>) => {
      const { body } = await call('POST', '/runs', { prompt: 'x', config: { profile: 'p' } }, headers)
      return (await call('GET', `/runs/${body.run_id}`)).body.agent_config.base_prompt
    }
    expect([await said(mine.headers), await said(other.headers)]).toEqual(['Mine.', 'Ours.'])
  })

  test('names no secret and no stored MCP server that is not there', async () => {
    const { call } = await newTeam()
    const refused = async (config: object) => (await call('POST', '/profiles', { name: 'p', config })).body.detail
    expect(await refused({ secrets: ['NOBODYS'] })).toBe('config.secrets: there is no secret NOBODYS')
    expect(await refused({ mcp_servers: { a: { warp_id: 'nope' } } })).toContain('the team has no MCP server nope')
  })

  test('hides the values of its MCP servers, and keeps them when it is sent back as it was shown', async () => {
    const { call } = await newTeam()
    const config = { mcp_servers: { tickets: { url: 'https://mcp.example.com', headers: { key: 'a-value-of-mine' } } } }
    const { body: made } = await call('POST', '/profiles', { name: 'p', config })
    expect(made.config.mcp_servers.tickets.headers).toEqual({ key: '***' })
    expect((await call('PUT', `/profiles/${made.uid}`, made)).status).toBe(200)
    const rows = await api.db.selectFrom('shared_item_versions').selectAll().where('uid', '=', made.uid).execute()
    expect(rows.map(({ content }) => content)).toEqual([rows[0]?.content, rows[0]?.content])
    expect(JSON.stringify(rows)).not.toContain('a-value-of-mine')
  })
})

describe('rules', () => {
  test('are given to the runs that they are for, in their order, at the version of the run’s beginning', async () => {
    const { call, start, member } = await newTeam()
    const { uid: mine, headers } = await member()
    const rule = async (body: object, as?: Record<string, string>) => (await call('POST', '/rules', body, as)).body
    await rule({ name: 'own', text: 'Be brief.', team: false, position: -9 }, headers)
    await rule({ name: 'second', text: 'Second.', position: 2 })
    const first = await rule({ name: 'first', text: 'First.\n' })
    await rule({ name: 'web', text: 'For the web.', repositories: ['you/web', 'you/app-*'], position: 5 })
    await rule({ name: 'off', text: 'Never.', enabled: false })
    const web = { repos: [{ url: 'https://github.com/You/web.git' }] }
    const run = await start({ environment: web })
    await call('PUT', `/rules/${first.uid}`, { ...first, text: 'Changed.' })
    expect(run.configuration.rules.map((used: { name: string }) => used.name)).toEqual(['first', 'second', 'web'])
    expect((await orderOf(run.run_id)).rules).toBe('First.\n\nSecond.\n\nFor the web.\n')
    const own = await start({ environment: { repos: [{ url: 'git@example.org:you/web-2' }] } }, headers)
    expect(own.creator.uid).toBe(mine)
    const command = await start({ config: { harness: { type: 'command', command: ['true'] } } })
    expect(command.configuration.rules).toEqual([])
    expect((await orderOf(own.run_id)).rules).toBe('Changed.\n\nSecond.\n\nBe brief.\n')
  })

  test('of one environment are for its runs alone', async () => {
    const { call, start } = await newTeam()
    const id = (await call('POST', '/environments', { name: 'e', prepare: false })).body.uid
    await call('POST', '/rules', { name: 'r', text: 'Here.', environment_ids: [id] })
    expect((await start({})).configuration.rules).toEqual([])
    expect((await start({ config: { environment_id: id } })).configuration.rules).toMatchObject([{ name: 'r' }])
    const gone = await call('POST', '/rules', { name: 's', text: 'x', environment_ids: ['A'.repeat(22)] })
    expect(gone.body.detail).toContain('environment_ids: the team has no environment')
  })

  test('of a team have a length that is never cut: more is refused when it is written', async () => {
    const { call } = await newTeam()
    const text = 'x'.repeat(32 * 1024)
    for (const rule of ['a', 'b', 'c']) expect((await call('POST', '/rules', { name: rule, text })).status).toBe(201)
    const more = await call('POST', '/rules', { name: 'd', text: 'y' })
    expect(more.body.detail).toContain('text: all enabled rules of the team together may have 98304 bytes')
    expect((await call('POST', '/rules', { name: 'd', text: 'y', enabled: false })).status).toBe(201)
    expect((await call('POST', '/rules', { name: 'e', text: `${text}y` })).body.detail).toContain('longer than 32768')
  })
})

describe('a saved prompt', () => {
  const body = {
    name: 'update',
    text: 'Update {{package}} to {{ version }}. Mind \\{{braces}} and {{package}}.',
    arguments: [
      { name: 'package', description: 'Its name' },
      { name: 'version', default: 'the newest' },
    ],
  }

  test('is the task of a run, with its arguments taken as they are', async () => {
    const { call } = await newTeam()
    const { body: saved } = await call('POST', '/prompts', body)
    expect(saved.arguments).toMatchObject([
      { name: 'package', required: true, default: null },
      { name: 'version', required: false, default: 'the newest' },
    ])
    const values = { package: '{{version}} $& $1' }
    const started = await call('POST', '/runs', { saved_prompt: { name: 'update', arguments: values } })
    const run = (await call('GET', `/runs/${started.body.run_id}`)).body
    const task = 'Update {{version}} $& $1 to the newest. Mind {{braces}} and {{version}} $& $1.'
    expect([run.prompt, run.title]).toEqual([task, `${task.slice(0, 49)}…`])
    expect(run.configuration.saved_prompt).toEqual({
      uid: saved.uid,
      name: 'update',
      version: 1,
      arguments: { package: '{{version}} $& $1', version: 'the newest' },
    })
    await call('PUT', `/prompts/${saved.uid}`, { name: 'update', text: 'Else.', version: 1 })
    const pinned = { saved_prompt: { uid: saved.uid, version: 1, arguments: values } }
    const again = await call('POST', '/runs', pinned)
    expect((await call('GET', `/runs/${again.body.run_id}`)).body.prompt).toBe(task)
  })

  test('is refused where arguments are missing or unknown, or a prompt is given as well', async () => {
    const { call } = await newTeam()
    await call('POST', '/prompts', body)
    const refused = async (saved: object, more: object = {}) =>
      (await call('POST', '/runs', { saved_prompt: saved, ...more })).body.detail
    expect(await refused({ name: 'update' })).toBe('saved_prompt.arguments.package: is required (Its name)')
    expect(await refused({ name: 'update', arguments: { package: 'p', verison: '1' } })).toBe(
      'saved_prompt.arguments.verison: is no argument of this prompt. Is version meant?',
    )
    expect(await refused({ name: 'other' })).toBe('saved_prompt: there is no saved prompt "other"')
    expect(await refused({})).toContain('saved_prompt: must have either a uid or a name')
    expect(await refused({ name: 'update' }, { prompt: 'x' })).toBe(
      'saved_prompt: cannot be given together with prompt',
    )
    expect((await call('POST', '/runs', {})).body.detail).toBe('prompt: is required')
  })

  test('is refused where its arguments make it longer than a prompt may be', async () => {
    const { call } = await newTeam()
    await call('POST', '/prompts', { name: 'p', text: '{{a}}'.repeat(100_000), arguments: [{ name: 'a' }] })
    const use = { name: 'p', arguments: { a: 'x'.repeat(1_000_000) } }
    const refused = await call('POST', '/runs', { saved_prompt: use })
    expect(refused.body.detail).toBe('saved_prompt: with its arguments, it is longer than 2097152 bytes')
    const blank = await call('POST', '/runs', { saved_prompt: { name: 'p', arguments: { a: ' ' } } })
    expect(blank.body.detail).toBe('saved_prompt: with its arguments, it must not be empty')
  })

  test('has a place for each argument, and an argument for each place', async () => {
    const { call } = await newTeam()
    const refused = async (text: string, names: string[]) =>
      (await call('POST', '/prompts', { name: name('p'), text, arguments: names.map((one) => ({ name: one })) })).body
        .detail
    expect(await refused('Do {{this}}.', [])).toContain('text: has a place for {{this}}, and arguments has none')
    expect(await refused('Do it.', ['that'])).toBe('arguments: has that, and the text has no {{that}}')
    expect(await refused('Do {{it}}.', ['it', 'it'])).toContain('must not have it twice')
  })
})

test('the command line makes, changes and shows them, and starts runs with them', async () => {
  const { team, call } = await newTeam()
  const type = async (...words: string[]) => {
    const options = { url: api.url, env: { AMBIENT_API_KEY: api.key, AMBIENT_TEAM: team } }
    const { code, stdout, stderr } = await ambient(words, options)
    if (code !== 0) throw new Error(`${words.join(' ')}: ${stderr}`)
    return stdout
  }
  await Promise.all([
    type(
      'profiles',
      'create',
      'reviewer',
      '--agent',
      'claude',
      '--permission',
      'ask',
      '--max-run',
      '30',
      '--budget',
      '2',
    ),
    type('rules', 'create', 'style', '--text', 'Be brief.', '--repo', 'you/*', '--position', '3'),
    type('prompts', 'create', 'update', '--text', 'Update {{what}} to {{version}}', '--argument', 'version=new'),
  ])
  await Promise.all([
    type('profiles', 'update', 'reviewer', '--reasoning', 'high', '--default'),
    type('rules', 'update', 'style', '--disable'),
  ])
  const [profile] = (await call('GET', '/profiles')).body.profiles
  expect(profile).toMatchObject({
    version: 2,
    default: true,
    config: {
      harness: { type: 'claude', reasoning_level: 'high' },
      permission_policy: 'ask',
      max_run_minutes: 30,
      budget: { usd: 2 },
    },
  })
  expect(await type('rules', 'show', 'style')).toMatch(/disabled[\s\S]*you\/\*[\s\S]*Be brief\./)
  const id = (await type('run', '--saved-prompt', 'update', '--arg', 'what=zod', '--no-follow')).trim()
  expect((await call('GET', `/runs/${id}`)).body).toMatchObject({
    prompt: 'Update zod to new',
    configuration: { profile: { name: 'reviewer', version: 2 } },
  })
  const shown = await type('runs', 'show', id)
  expect(shown).toMatch(/saved prompt +update, version 1/)
  expect(shown).toMatch(/permission_policy +ask +team reviewer version 2/)
})

test('what is made, changed and deleted is in the audit log', async () => {
  const { call } = await newTeam()
  const { body: rule } = await call('POST', '/rules', { name: 'r', text: 'A text of somebody’s.' })
  await call('PUT', `/rules/${rule.uid}`, rule)
  await call('DELETE', `/rules/${rule.uid}`)
  const { entries } = (await call('GET', `/audit-log?thing=${rule.uid}`)).body
  expect(entries.map((entry: { action: string }) => entry.action)).toEqual([
    'rules.delete',
    'rules.update',
    'rules.create',
  ])
  expect(JSON.stringify(entries)).not.toContain('A text of somebody')
})

test('a list comes in pages, the same whichever the page is', async () => {
  const { call } = await newTeam()
  for (const [rule, position] of [
    ['c', 0],
    ['a', 3],
    ['B', 0],
    ['d', -2],
  ] as const)
    await call('POST', '/rules', { name: rule, text: 'x', position })
  const names: string[] = []
  for (let cursor = ''; ; ) {
    const page = (await call('GET', `/rules?limit=1${cursor}`)).body
    names.push(...page.rules.map((rule: { name: string }) => rule.name))
    if (!page.page_info.has_next_page) break
    cursor = `&cursor=${encodeURIComponent(page.page_info.next_cursor)}`
  }
  expect(names).toEqual(['d', 'B', 'c', 'a'])
  expect((await call('GET', '/rules?cursor=nonsense')).status).toBe(400)
})
