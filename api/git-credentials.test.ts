import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApiKey } from '../store/accounts/api-keys.ts'
import { personByEmail } from '../store/accounts/people.ts'
import { addMember, insertTeam } from '../store/accounts/teams.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { testApp } from '../test/support/github-app.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api?.close())

const TOKEN = 'token-that-nobody-sees-01'
const body = { name: 'ours', url: 'https://github.com/you', token: TOKEN }
const create = async (change: object = {}, headers = {}) =>
  await api.call('POST', '/agent/git-credentials', { ...body, ...change }, headers)

const by = { type: 'operator', uid: 'operator' } as const

/** The headers of a person in the default team. */
async function person(email: string): Promise<Record<string, string>> {
  return await api.db.transaction().execute(async (tx) => {
    const { uid } = await personByEmail(tx, { email })
    await addMember(tx, 'default', uid, 'member')
    const owner = { person: uid }
    const asked = {
      name: 'k',
      team: null,
      scope: 'manage',
      expiresAt: null,
      createdBy: by,
      madeWith: null,
      owner,
    } as const
    const { key } = await createApiKey(tx, asked)
    return { authorization: `Bearer ${key}` }
  })
}

test('a token is stored sealed, is shown by nothing, and the log says who has stored it', async () => {
  const { status, body: item } = await create()
  expect(status).toBe(201)
  expect(item).toMatchObject({ url: 'https://github.com/you', type: 'token', access: 'write', scope: { type: 'Team' } })
  const listed = await api.call('GET', '/agent/git-credentials')
  const log = await api.call('GET', '/agent/audit-log')
  expect(log.body.entries[0]).toMatchObject({ action: 'git_credentials.create', thing: { uid: item.uid } })
  const rows = await api.db.selectFrom('git_credentials').selectAll().execute()
  for (const place of [item, listed.body, log.body, rows.map((row) => ({ ...row, secret: String(row.secret) }))])
    expect(JSON.stringify(place)).not.toContain(TOKEN)
  expect((await api.call('DELETE', `/agent/git-credentials/${item.uid}`)).status).toBe(204)
  expect((await api.call('GET', `/agent/git-credentials/${item.uid}`)).status).toBe(404)
})

test('where a credential would be shown to another server, it has to be given again', async () => {
  const { body: item } = await create()
  const put = (change: object) =>
    api.call('PUT', `/agent/git-credentials/${item.uid}`, { ...body, token: undefined, ...change })
  expect((await put({ url: 'https://github.com/you/app', access: 'read' })).body).toMatchObject({
    url: 'https://github.com/you/app',
    access: 'read',
  })
  const refused = await put({ url: 'https://elsewhere.example/you' })
  expect([refused.status, refused.body.detail]).toEqual([400, expect.stringContaining('token: is to be given again')])
  expect((await put({ url: 'http://github.com/you' })).status).toBe(400)
  expect((await put({ url: 'https://elsewhere.example/you', token: 'another-one-02' })).status).toBe(200)
  const app = { app_id: '1', private_key: testApp(() => {}).privateKey }
  const made = await create({ token: undefined, type: 'github_app', github_app: app })
  expect(made.status).toBe(201)
  const moved = {
    name: 'ours',
    url: body.url,
    type: 'github_app',
    github_app: { app_id: '1', api_url: 'https://x.example' },
  }
  expect((await api.call('PUT', `/agent/git-credentials/${made.body.uid}`, moved)).status).toBe(400)
})

test.each([
  [{ token: undefined }, 'token: is missing'],
  [{ url: 'git@github.com:you/app' }, 'url: must be a URL such as https://github.com'],
  [{ url: 'https://you:secret@github.com' }, 'url: must have no user name'],
  [{ type: 'github_app', token: undefined }, 'github_app: is missing'],
  [
    { type: 'github_app', token: undefined, github_app: { app_id: '1', private_key: 'no key' } },
    'must be an RSA private key',
  ],
  [{ tokn: 'x' }, 'tokn: is not known here. Is token meant?'],
])('%j is refused', async (change, detail) => {
  const answer = await create(change)
  expect([answer.status, answer.body.detail]).toEqual([400, expect.stringContaining(detail)])
})

test('a person’s own is seen and changed by nobody else, and other teams see nothing', async () => {
  const [ada, bob] = [await person('ada@example.com'), await person('bob@example.com')]
  const { status, body: item } = await create({ name: 'mine', personal: true }, ada)
  expect([status, item.scope.type]).toEqual([201, 'User'])
  const names = async (headers: Record<string, string>) =>
    (await api.call('GET', '/agent/git-credentials', undefined, headers)).body.git_credentials.map(
      ({ name }: { name: string }) => name,
    )
  expect(await names(ada)).toContain('mine')
  expect(await names(bob)).not.toContain('mine')
  expect(await names({})).not.toContain('mine')
  expect((await api.call('DELETE', `/agent/git-credentials/${item.uid}`, undefined, bob)).status).toBe(404)
  expect((await create({ personal: true })).status).toBe(422)

  const other = await api.db
    .transaction()
    .execute((tx) => insertTeam(tx, { name: 'Other', runLimit: null, standard: 10, by }))
  expect(await names({ 'x-warp-team-uid': other.uid })).toEqual([])
})
