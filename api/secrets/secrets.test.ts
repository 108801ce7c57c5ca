import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { resolveServer } from '../../secrets/mcp/resolve.ts'
import { lockRun } from '../../store/locking.ts'
import { changeState } from '../../store/runs/states.ts'
import { dropOldGiven } from '../../store/secrets/given-values.ts'
import { type Body, startTestApi, type TestApi } from '../../test/support/api.ts'
import { callTool, passOf } from '../../test/support/tools.ts'

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api?.close())

const keep = (body: object) => api.call('POST', '/agent/secrets', body)
const given = (name: string, value: string, more: object = {}) => keep({ name, value, ...more })
const environment = async (): Promise<string> =>
  (await api.call('POST', '/agent/environments', { name: `e${Math.random()}` })).body.uid

/** What a host is given for a run. */
async function orderOf(body: object): Promise<Body> {
  const { body: run, status } = await api.call('POST', '/agent/runs', { prompt: 'p', ...body })
  if (status !== 200) throw new Error(JSON.stringify(run))
  await api.hold(run.run_id)
  const order = await api.host('GET', `/runs/${run.run_id}/executions/1`)
  return { ...order.body, run_id: run.run_id }
}

const valuesIn = (order: Body) =>
  Object.fromEntries(order.secrets.map(({ name, value }: { name: string; value: string }) => [name, value]))

test('a value is taken, and never shown again', async () => {
  const made = await given('SHOWN_NEVER', 'value-of-shown-never', { description: 'for a test' })
  expect(made.status).toBe(201)
  expect(made.body).toMatchObject({ name: 'SHOWN_NEVER', scope: 'team', version: 1, kind: 'env', owner: null })
  const { uid } = made.body
  const changed = await api.call('PATCH', `/agent/secrets/${uid}`, { value: 'another-value-of-it' })
  expect(changed.body).toMatchObject({ version: 2, description: 'for a test' })
  const shown = await Promise.all([
    api.call('GET', '/agent/secrets'),
    api.call('GET', `/agent/secrets/${uid}`),
    api.call('GET', '/agent/audit-log?thing_type=secret'),
  ])
  for (const { body } of [made, changed, ...shown]) expect(JSON.stringify(body)).not.toMatch(/value-of/)
  expect(shown[2].body.entries.map(({ action }: Body) => action)).toEqual(['secrets.update', 'secrets.create'])
  const rows = await api.db.selectFrom('secrets').selectAll().where('uid', '=', uid).execute()
  expect(Buffer.concat(rows.map(({ sealed }) => sealed)).toString('latin1')).not.toMatch(/value-of/)
  expect((await api.call('DELETE', `/agent/secrets/${uid}`)).status).toBe(204)
  expect((await api.call('GET', `/agent/secrets/${uid}`)).status).toBe(404)
})

test.each([
  [{ name: 'PATH', value: 'v' }, 400],
  [{ name: 'no-name', value: 'v' }, 400],
  [{ name: 'AMBIENT_URL', value: 'v' }, 400],
  [{ name: 'A', value: '' }, 400],
  [{ name: 'A', value: 'a\0b' }, 400],
  [{ name: 'A', value: 'v', path: '/x' }, 400],
  [{ name: 'A', value: 'v', kind: 'file', path: 'relative' }, 400],
  [{ name: 'A', value: 'v', kind: 'file', path: '~/../x' }, 400],
  [{ name: 'A', value: 'v', scope: 'environment' }, 400],
  [{ name: 'A', value: 'v', scope: 'agent', agent_uid: 'A'.repeat(22) }, 400],
  [{ name: 'A', value: 'v', valeu: 'x' }, 400],
])('%o is refused', async (body, status) => {
  const answer = await keep(body)
  expect(answer.status).toBe(status)
})

test('a name is there once in each scope, and a host is given the value of the closest', async () => {
  const id = await environment()
  await given('LAYERED', 'of-the-team')
  expect((await given('LAYERED', 'again')).status).toBe(409)
  expect(valuesIn(await orderOf({})).LAYERED).toBe('of-the-team')
  await given('LAYERED', 'of-the-person', { scope: 'person' })
  expect(valuesIn(await orderOf({})).LAYERED).toBe('of-the-team')
  expect(valuesIn(await orderOf({ team: false })).LAYERED).toBe('of-the-person')
  expect(valuesIn(await orderOf({ config: { secrets: ['LAYERED'] } })).LAYERED).toBe('of-the-person')
  await given('LAYERED', 'of-the-environment', { scope: 'environment', environment_id: id })
  const { body: agent } = await api.call('POST', '/agent/identities', { name: 'Layers' })
  expect(valuesIn(await orderOf({ team: false, config: { environment_id: id } })).LAYERED).toBe('of-the-environment')
  await given('LAYERED', 'of-the-agent', { scope: 'agent', agent_uid: agent.uid })
  const order = await orderOf({ agent_identity_uid: agent.uid, config: { environment_id: id } })
  expect(valuesIn(order).LAYERED).toBe('of-the-agent')
})

test('a personal secret goes to a run of the team by the word of its owner alone, whatever a profile or a schedule names', async () => {
  const own = 'personal-value'
  await given('OWN_WORD', own, { scope: 'person' })
  const config = { secrets: ['OWN_WORD'] }
  const profile = async (name: string, more: object) =>
    (await api.call('POST', '/agent/profiles', { name, config, ...more })).body
  const ofTeam = await profile('of the team', {})
  const mine = await profile('mine', { team: false })
  const start = (body: object) => api.call('POST', '/agent/runs', { prompt: 'p', ...body })
  expect(await start({ config: { profile: ofTeam.uid } })).toMatchObject({
    status: 422,
    body: { detail: expect.stringContaining('OWN_WORD') },
  })
  const schedule = { name: 'nightly', cron_schedule: '0 3 * * *', prompt: 'p', agent_config: config }
  expect((await api.call('POST', '/agent/schedules', schedule)).status).toBe(422)
  for (const asked of [config, { profile: mine.uid }])
    expect(valuesIn(await orderOf({ config: asked }))).toEqual({ OWN_WORD: own })
  // One of the team by this name is what such a run gets, and the personal one is not.
  await given('OWN_WORD', 'value-of-the-team')
  expect(valuesIn(await orderOf({ config: { profile: ofTeam.uid } }))).toEqual({ OWN_WORD: 'value-of-the-team' })
  expect(valuesIn(await orderOf({ config }))).toEqual({ OWN_WORD: own })
})

test('a run gets those that it names, or none, and shows which it was given', async () => {
  await given('NAMED_ONE', 'value-one')
  await given('NAMED_TWO', 'value-two', { kind: 'file', path: '~/.two' })
  const order = await orderOf({ config: { secrets: ['NAMED_TWO'] } })
  expect(order.secrets).toEqual([{ name: 'NAMED_TWO', version: 1, kind: 'file', path: '~/.two', value: 'value-two' }])
  const { body: run } = await api.call('GET', `/agent/runs/${order.run_id}`)
  expect(run.secrets).toMatchObject([{ name: 'NAMED_TWO', version: 1, scope: 'team', kind: 'file', execution: 1 }])
  expect(JSON.stringify(run)).not.toContain('value-two')
  const { body: log } = await api.call('GET', `/agent/audit-log?action=secrets.give&thing=${order.run_id}`)
  expect(log.entries).toMatchObject([{ detail: { names: ['NAMED_TWO v1'], execution: 1 } }])
  expect((await orderOf({ config: { secrets: [] } })).secrets).toEqual([])
  const refused = await api.call('POST', '/agent/runs', { prompt: 'p', config: { secrets: ['NAMED_TWO', 'NOBODYS'] } })
  expect([refused.status, refused.body.detail]).toEqual([422, expect.stringContaining('no secret NOBODYS')])
})

test('a run that named a secret which is gone hears so instead of going without', async () => {
  const { body: secret } = await given('SHORT_LIVED', 'value-short')
  const { body: run } = await api.call('POST', '/agent/runs', { prompt: 'p', config: { secrets: ['SHORT_LIVED'] } })
  await api.call('DELETE', `/agent/secrets/${secret.uid}`)
  await api.hold(run.run_id)
  const { body: order } = await api.host('GET', `/runs/${run.run_id}/executions/1`)
  expect(order).toMatchObject({ secrets: [], secrets_trouble: expect.stringContaining('SHORT_LIVED') })
})

test('the value before the newest is hidden as well: a run that goes on may still have it', async () => {
  const { body: secret } = await given('CHANGED_LATER', 'value-before-it')
  const { run_id: runId } = await orderOf({ config: { secrets: ['CHANGED_LATER'] } })
  await api.call('PATCH', `/agent/secrets/${secret.uid}`, { value: 'value-after-it' })
  const { body: order } = await api.host('GET', `/runs/${runId}/executions/1`)
  expect(order).toMatchObject({
    secrets: [{ value: 'value-after-it', version: 2 }],
    hidden_values: ['value-before-it'],
  })
  const { body: run } = await api.call('GET', `/agent/runs/${runId}`)
  expect(run.secrets).toMatchObject([{ name: 'CHANGED_LATER', version: 2 }])
})

/** Tells the progress of a run, as its agent does. */
async function sayer(runId: string): Promise<(message: string) => Promise<void>> {
  const { tool_token: token } = (await api.host('POST', `/runs/${runId}/executions/1/credential`)).body
  const pass = await passOf(api.db, token)
  return async (message) => {
    const said = await callTool(`${api.url}/internal/v1/tools`, token, 'post_progress', { message }, pass)
    expect(said).toMatchObject({ status: 200, isError: false })
  }
}

const toldBy = async (runId: string): Promise<string[]> =>
  (await api.call('GET', `/agent/runs/${runId}/events?kind=progress`)).body.events.map(
    ({ data }: { data: { message: string } }) => data.message,
  )

test('what an agent says by its tools is stored without the values of its run', async () => {
  await given('TOLD_BY_TOOL', 'value-told-by-a-tool')
  const { run_id: runId } = await orderOf({ config: { secrets: ['TOLD_BY_TOOL'] } })
  await (await sayer(runId))('I use value-told-by-a-tool.')
  expect(await toldBy(runId)).toEqual(['I use ***.'])
  expect(JSON.stringify(await api.db.selectFrom('events').selectAll().execute())).not.toContain('value-told-by-a-tool')
})

test('what a run was given is hidden as long as it goes on, though its secrets are changed, and changed again, and deleted', async () => {
  const { body: changed } = await given('CHANGED_TWICE', 'value-changed-1')
  const { body: deleted } = await given('DELETED_SINCE', 'value-deleted')
  const { body: named } = await given('NAMED_BY_SERVER', 'value-named-1')
  // Written into a command of the sandbox by the gateway.
  // biome-ignore lint/suspicious/noTemplateCurlyInString: names of secrets are written so.
  const tool = { command: 'a-tool', env: { KEY: '${NAMED_BY_SERVER}' } }
  const config = { secrets: ['CHANGED_TWICE', 'DELETED_SINCE'], mcp_servers: { tool } }
  const { run_id: runId } = await orderOf({ config })
  const say = await sayer(runId)
  const change = (uid: string, value: string) => api.call('PATCH', `/agent/secrets/${uid}`, { value })
  for (const number of [2, 3, 4]) await change(changed.uid, `value-changed-${number}`)
  await change(named.uid, 'value-named-2')
  expect(await resolveServer(api.db, api.vault, runId, 'tool')).toMatchObject({ env: { KEY: 'value-named-2' } })
  for (const number of [3, 4]) await change(named.uid, `value-named-${number}`)
  for (const { uid } of [deleted, named]) await api.call('DELETE', `/agent/secrets/${uid}`)
  const had = ['value-changed-1', 'value-deleted', 'value-named-1', 'value-named-2']
  await say(had.join(' '))
  expect(await toldBy(runId)).toEqual(['*** *** *** ***'])
  // As the host hides it, whose next piece of work begins with another order.
  const { body: order } = await api.host('GET', `/runs/${runId}/executions/1`)
  expect(order.hidden_values.filter((value: string) => value.startsWith('value-')).toSorted()).toEqual(had)
  expect(order.secrets_trouble).toContain('DELETED_SINCE')

  const rows = () => api.db.selectFrom('given_values').select('sealed').where('run_id', '=', runId).execute()
  expect(Buffer.concat((await rows()).map(({ sealed }) => sealed)).toString('latin1')).not.toContain('value-')
  await dropOldGiven(api.db, 0)
  expect(await rows()).toHaveLength(4)
  await api.db.transaction().execute(async (tx) => {
    await changeState(tx, await lockRun(tx, runId), { execution: 1, key: 'end', state: 'SUCCEEDED' })
  })
  // A message that waits begins it again.
  await dropOldGiven(api.db, 0)
  expect(await rows()).toHaveLength(4)
  const taken = { accepted_at: new Date() }
  await api.db.updateTable('mail').set(taken).where('run_id', '=', runId).execute()
  await dropOldGiven(api.db, 1)
  expect(await rows()).toHaveLength(4)
  await dropOldGiven(api.db, 0)
  expect(await rows()).toHaveLength(0)
})

test('what hides the values is made once, and anew when there is another value', async () => {
  const { body: secret } = await given('OPENED_ONCE', 'value-opened-1')
  const { run_id: runId } = await orderOf({ config: { secrets: ['OPENED_ONCE'] } })
  const say = await sayer(runId)
  const open = vi.spyOn(api.vault, 'open')
  onTestFinished(() => open.mockRestore())
  await say('first value-opened-1')
  const once = open.mock.calls.length
  expect(once).toBeGreaterThan(0)
  await say('then value-opened-1')
  expect(open.mock.calls.length).toBe(once)
  await api.call('PATCH', `/agent/secrets/${secret.uid}`, { value: 'value-opened-2' })
  await say('now value-opened-1, value-opened-2')
  expect(await toldBy(runId)).toEqual(['first ***', 'then ***', 'now ***, ***'])
  expect(open.mock.calls.length).toBeGreaterThan(once)
})

test('those of an environment and of a service account go with them', async () => {
  const id = await environment()
  const { body: agent } = await api.call('POST', '/agent/identities', { name: 'Short-lived' })
  const { body: one } = await given('GOES_WITH', 'value-goes', { scope: 'environment', environment_id: id })
  const { body: other } = await given('GOES_WITH', 'value-goes', { scope: 'agent', agent_uid: agent.uid })
  await api.call('DELETE', `/agent/environments/${id}`)
  await api.call('DELETE', `/agent/identities/${agent.uid}`)
  for (const { uid } of [one, other]) expect((await api.call('GET', `/agent/secrets/${uid}`)).status).toBe(404)
})

test('values of inline and stored environments, and credentials in URLs, lie sealed, and reach the host as they were', async () => {
  const url = 'https://me:token-in-a-url@git.example/a/b.git'
  const config = { env: { INLINE: 'value-inline-1' }, repos: [{ url }] }
  const { body: stored } = await api.call('POST', '/agent/environments', { name: 'sealed', ...config })
  const orders = [await orderOf({ environment: config }), await orderOf({ config: { environment_id: stored.uid } })]
  for (const { environment } of orders) {
    expect(environment.env).toEqual(config.env)
    expect(environment.repos[0].url).toBe(url)
  }
  const rows = JSON.stringify([
    await api.db.selectFrom('runs').selectAll().execute(),
    await api.db.selectFrom('environments').selectAll().execute(),
    await api.db.selectFrom('idempotency').selectAll().execute(),
  ])
  expect(rows).toContain('ambient-sealed:')
  expect(rows).not.toMatch(/value-inline-1|token-in-a-url/)
  const before = (
    await api.db.selectFrom('environments').select('config').where('id', '=', stored.uid).executeTakeFirst()
  )?.config
  const shown = (await api.call('GET', `/agent/environments/${stored.uid}`)).body.config
  await api.call('PUT', `/agent/environments/${stored.uid}`, { ...shown, setup_inputs: undefined, name: 'sealed' })
  const after = (
    await api.db.selectFrom('environments').select('config').where('id', '=', stored.uid).executeTakeFirst()
  )?.config
  expect([after?.env, after?.repos]).toEqual([before?.env, before?.repos])
})

test('the vault brings everything under a new key while runs go on, and seals what was plain', async () => {
  await given('ROTATED', 'value-rotated')
  const order = await orderOf({ environment: { env: { ROTATES: 'value-rotates' }, repos: [] } })
  const { body: plain } = await api.call('POST', '/agent/runs', { prompt: 'p' })
  await api.db
    .updateTable('runs')
    .set({ environment: JSON.stringify({ repos: [], setup_commands: [], env: { OLD: 'value-old-row' } }) as never })
    .where('id', '=', plain.run_id)
    .execute()
  const { body: before } = await api.call('GET', '/agent/vault')
  expect(before).toMatchObject({ trouble: null, plain: 1, sealed: [{ is_here: true }] })
  const { body: rotated } = await api.call('POST', '/agent/vault/rotate', { new_key: true })
  expect(rotated.keys).toHaveLength(2)
  expect(rotated.sealed).toEqual([{ key: rotated.keys[0], values: expect.any(Number), is_here: true }])
  expect(rotated).toMatchObject({ plain: 0, rewrapped: before.sealed[0].values })
  await api.hold(plain.run_id)
  const again = await api.host('GET', `/runs/${order.run_id}/executions/1`)
  expect(again.body.environment.env).toEqual({ ROTATES: 'value-rotates' })
  expect(valuesIn(again.body).ROTATED).toBe('value-rotated')
  const old = await api.host('GET', `/runs/${plain.run_id}/executions/1`)
  expect(old.body.environment.env).toEqual({ OLD: 'value-old-row' })
  expect((await api.call('POST', '/agent/vault/rotate')).body.rewrapped).toBe(0)
})
