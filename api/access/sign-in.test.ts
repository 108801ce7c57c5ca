import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { type Browser, createBrowser, type Page } from '../../test/support/browser.ts'
import { CLIENT, type OidcServer, startOidcServer } from '../../test/support/oidc-server.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'

const HERE = 'https://ambient.example'
const SAM = { sub: 'sam', email: 'Sam@Example.com', email_verified: true, name: 'Sam' }

let postgres: TestPostgres
let oidc: OidcServer
let api: TestApi
let browser: Browser
beforeAll(async () => {
  postgres = await startTestPostgres()
  oidc = await startOidcServer(`${HERE}/auth/callback`)
  api = await startTestApi({
    databaseUrl: await postgres.databaseUrl(),
    env: {
      AMBIENT_PUBLIC_URL: HERE,
      AMBIENT_WRONG_KEYS: '0',
      AMBIENT_OIDC_ISSUER: oidc.issuer,
      AMBIENT_OIDC_CLIENT_ID: CLIENT.id,
      AMBIENT_OIDC_CLIENT_SECRET: CLIENT.secret,
      AMBIENT_OIDC_SCOPES: 'openid email profile groups',
      AMBIENT_OIDC_ALLOWED_DOMAINS: 'example.com, example.org',
      AMBIENT_OIDC_DEFAULT_ROLE: 'viewer',
      AMBIENT_OIDC_ROLES: 'builders=member, /org/owners=default:admin',
    },
  })
})
afterAll(async () => {
  await api?.close()
  await oidc?.close()
  await postgres.stop()
})
beforeEach(() => {
  Object.assign(oidc, { person: SAM, tamper: null, signsWithStrangeKey: false })
  browser = createBrowser({ [HERE]: api.url })
})

const json = (page: Page) => JSON.parse(page.text)
const session = async (of = browser) =>
  json(await of.open(`${HERE}/auth/session`, { headers: { accept: 'application/json' } }))
const me = (of = browser) => of.send('GET', `${HERE}/api/v1/agent/me`)
const byProvider = (path = '/auth/session', of = browser) =>
  of.open(`${HERE}/auth/login?with=oidc&return_to=${encodeURIComponent(path)}`)
const byKey = (key: string, of = browser) => of.send('POST', `${HERE}/auth/login`, { body: { key } })
const audit = async (query: string) => (await api.call('GET', `/agent/audit-log?all=true&${query}`)).body.entries
/** A new person with a key of their own. */
async function somebody(email: string, role = 'member', scope = 'admin') {
  const member = (await api.call('POST', '/agent/teams/default/members', { email, role })).body
  const key = (await api.call('POST', '/agent/api-keys', { name: 'laptop', person: email, scope })).body
  return { person: member.uid as string, key: key.key as string, keyUid: key.uid as string }
}
const ENVIRONMENT = { name: 'web', repos: [] }
const makeEnvironment = (headers: Record<string, string> = {}, origin?: string | null) =>
  browser.send('POST', `${HERE}/api/v1/agent/environments`, {
    body: { ...ENVIRONMENT, name: `web ${Math.random()}` },
    headers,
    ...(origin !== undefined && { origin }),
  })

describe('by the provider', () => {
  test('somebody signs in, has the role of the settings, and is known again', async () => {
    oidc.person = { ...SAM, sub: 'ada', email: 'ada@example.com', name: 'Ada', picture: 'https://img.example/ada' }
    const page = await byProvider('/auth/session?x=1')
    expect(page).toMatchObject({ status: 200, url: new URL(`${HERE}/auth/session?x=1`) })
    const first = await session()
    expect(first).toMatchObject({
      signed_in: true,
      session: { type: 'user', display_name: 'Ada', email: 'ada@example.com', scope: 'admin' },
      methods: { key: true, oidc: { provider: new URL(oidc.issuer).host } },
    })
    expect(json(await me())).toMatchObject({
      uid: first.session.person_uid,
      role: 'viewer',
      team: { uid: 'default' },
      key: null,
    })
    const other = createBrowser({ [HERE]: api.url })
    await byProvider('/auth/session', other)
    expect((await session(other)).session.person_uid).toBe(first.session.person_uid)
    expect(await audit(`actor=${first.session.person_uid}&action=sign_in`)).toMatchObject([
      { actor: { name: 'Ada' }, detail: { method: 'oidc' }, thing: { type: 'session' } },
      { actor: { key_uid: first.session.uid } },
    ])
  })

  test('the cookies are the server’s own, for no script and for https alone', async () => {
    await byProvider()
    const set = browser.seen.filter((line) => line.startsWith('__Host-ambient_session='))
    expect(set).toEqual([
      expect.stringMatching(
        /^__Host-ambient_session=[\w-]{43}; Path=\/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure$/,
      ),
    ])
    expect([...browser.cookies(HERE).keys()]).toEqual(['__Host-ambient_session'])
    const kept = await api.db.selectFrom('sessions').selectAll().execute()
    expect(JSON.stringify(kept)).not.toContain([...browser.cookies(HERE).values()][0])
  })

  test.each([
    ['https://evil.example/'],
    ['//evil.example/'],
    ['/\\evil.example/'],
    ['/.//evil.example/'],
    ['javascript:alert(1)'],
  ])('the way back never leads elsewhere: %s', async (path) => {
    expect((await byProvider(path)).url.href).toBe(`${HERE}/auth/login`)
  })

  test('whoever an admin has added by their address is that person, with their role', async () => {
    const { person } = await somebody('lin@example.com', 'member')
    oidc.person = { ...SAM, sub: 'lin', email: 'LIN@example.com', groups: ['builders'] }
    await byProvider()
    expect(json(await me())).toMatchObject({ uid: person, role: 'member' })
  })

  test('groups give roles, and take them back at the next sign-in', async () => {
    const roleOf = async (groups: string[]) => {
      oidc.person = { ...SAM, sub: 'kim', email: 'kim@example.org', groups }
      await byProvider()
      return json(await me()).role
    }
    expect(await roleOf(['others', '/org/owners', 'builders'])).toBe('admin')
    expect(await roleOf(['builders'])).toBe('member')
    expect(await roleOf([])).toBe('viewer')
    const uid = (await session()).session.person_uid
    expect(
      (await audit(`thing=${uid}&sort_order=asc`)).map((entry: { action: string; detail: object }) => [
        entry.action,
        entry.detail,
      ]),
    ).toEqual([
      ['members.add', { role: 'admin', by: 'groups' }],
      ['members.update', { role: 'member', by: 'groups' }],
      ['members.update', { role: 'viewer', by: 'groups' }],
    ])
  })

  test('keys that the provider has changed are asked for anew', async () => {
    await byProvider()
    await oidc.rotateKeys()
    // Signed again as it was: what the tests below change of a token is all that is wrong with it.
    oidc.tamper = (claims) => claims
    const other = createBrowser({ [HERE]: api.url })
    await byProvider('/auth/session', other)
    expect((await session(other)).signed_in).toBe(true)
  })

  test.each([
    ['a wrong nonce', 'invalid', { tamper: (claims: object) => ({ ...claims, nonce: 'another' }) }],
    ['no nonce', 'invalid', { tamper: ({ nonce: _, ...claims }: { nonce?: string }) => claims }],
    [
      'an expired token',
      'invalid',
      { tamper: (claims: object) => ({ ...claims, exp: Math.floor(Date.now() / 1000) - 120 }) },
    ],
    ['a token for another client', 'invalid', { tamper: (claims: object) => ({ ...claims, aud: 'another' }) }],
    [
      'a token of another provider',
      'invalid',
      { tamper: (claims: object) => ({ ...claims, iss: 'https://evil.example' }) },
    ],
    ['a token that somebody else has signed', 'invalid', { signsWithStrangeKey: true }],
    [
      'a domain that is not allowed',
      'domain',
      { person: { ...SAM, sub: 'x1', email: 'sam@example.com.evil.example' } },
    ],
    ['an address that is not verified', 'no_email', { person: { ...SAM, sub: 'x2', email_verified: false } }],
    ['an address of which nothing is said', 'no_email', { person: { sub: 'x3', email: 'x3@example.com' } }],
    ['no address', 'no_email', { person: { sub: 'x4' } }],
  ])('%s lets nobody in', async (_what, reason, lie) => {
    const people = async () => (await api.call('GET', '/agent/people')).body.people.length
    const before = await people()
    Object.assign(oidc, lie)
    const page = await byProvider()
    expect(page.status).toBe(reason === 'invalid' ? 400 : 403)
    expect(page.text).toContain('role="alert"')
    expect(await session()).toMatchObject({ signed_in: false })
    expect(await people()).toBe(before)
    const [entry] = await audit('action=sign_in.refused')
    expect(entry).toMatchObject({
      detail: { method: 'oidc', reason },
      actor: { type: 'unknown' },
      address: '127.0.0.1',
    })
  })

  test('somebody else who was given the address of a person here does not get their account', async () => {
    oidc.person = { ...SAM, sub: 'old', email: 'jo@example.com' }
    await byProvider()
    const other = createBrowser({ [HERE]: api.url })
    oidc.person = { ...SAM, sub: 'new', email: 'jo@example.com' }
    expect((await byProvider('/auth/session', other)).status).toBe(403)
    expect(await session(other)).toMatchObject({ signed_in: false })
  })

  test('what comes back is good for the sign-in of this browser, once, and with its state', async () => {
    const begun = await browser.open(`${HERE}/auth/login?with=oidc`, { follow: false })
    const toProvider = begun.headers.get('location') ?? ''
    expect(Object.fromEntries(new URL(toProvider).searchParams)).toMatchObject({
      response_type: 'code',
      code_challenge_method: 'S256',
      redirect_uri: `${HERE}/auth/callback`,
    })
    const provider = createBrowser({})
    const back = async () => {
      let page = await provider.open(toProvider, { follow: false })
      while (!page.headers.get('location')?.startsWith(HERE))
        page = await provider.open(new URL(page.headers.get('location') ?? '', toProvider).href, { follow: false })
      return new URL(page.headers.get('location') ?? '')
    }
    const callback = await back()
    const stranger = createBrowser({ [HERE]: api.url })
    expect((await stranger.open(callback.href)).status).toBe(400)
    const wrongState = new URL(callback)
    wrongState.searchParams.set('state', 'another')
    const cookie = new Map(browser.cookies(HERE))
    expect((await browser.open(wrongState.href)).status).toBe(400)
    // It was taken: the right one comes too late, even with the cookie.
    for (const [name, value] of cookie) browser.cookies(HERE).set(name, value)
    expect((await browser.open(callback.href)).status).toBe(400)
    expect(await session()).toMatchObject({ signed_in: false })
    expect((await browser.open(`${HERE}/auth/callback?error=access_denied`)).status).toBe(400)
  })

  test('somebody who is disabled is out at once, and does not come back', async () => {
    oidc.person = { ...SAM, sub: 'max', email: 'max@example.com' }
    await byProvider()
    const uid = (await session()).session.person_uid
    await api.call('PATCH', `/agent/people/${uid}`, { disabled: true })
    expect((await me()).status).toBe(401)
    expect(await session()).toMatchObject({ signed_in: false })
    const page = await byProvider()
    expect(page).toMatchObject({ status: 403, text: expect.stringContaining('disabled') })
    expect(await audit(`actor=${uid}&action=sign_in.refused`)).toMatchObject([{ detail: { reason: 'disabled' } }])
  })
})

describe('by a key', () => {
  test('the page takes it, and the operator is in', async () => {
    expect((await browser.open(`${HERE}/`)).text).toContain('<form method="post" action="/auth/login">')
    const form = { key: api.key, return_to: '/api/v1/agent/me' }
    const done = await browser.send('POST', `${HERE}/auth/login`, { form })
    expect([done.status, done.headers.get('location')]).toEqual([303, '/api/v1/agent/me'])
    const elsewhere = await browser.send('POST', `${HERE}/auth/login`, {
      form: { ...form, return_to: '/.//evil.example/' },
    })
    expect(elsewhere.headers.get('location')).toBe('/auth/login')
    expect(json(await me())).toMatchObject({ type: 'operator', role: 'admin' })
    expect((await browser.open(`${HERE}/auth/login`)).text).toContain('You are signed in as <b>Operator</b>')
  })

  test('a person’s own key signs them in, for what it is good for and as long as it is', async () => {
    const { person, key, keyUid } = await somebody('eva@example.com', 'member', 'read')
    expect(json(await byKey(key))).toMatchObject({ signed_in: true, session: { person_uid: person, scope: 'read' } })
    const { csrf_token: token } = (await session()).session
    expect((await makeEnvironment({ 'x-ambient-csrf': token })).status).toBe(403)
    await api.call('DELETE', `/agent/api-keys/${keyUid}?`, undefined)
    await api.db.updateTable('api_keys').set({ revoked_at: new Date() }).where('uid', '=', keyUid).execute()
    expect((await me()).status).toBe(401)
  })

  test('a wrong key, one of a service account, and one from a page of another origin sign nobody in', async () => {
    const wrong = await browser.send('POST', `${HERE}/auth/login`, { form: { key: 'wk-wrong' } })
    expect([wrong.status, wrong.headers.get('content-security-policy')]).toEqual([
      401,
      expect.stringContaining("default-src 'none'"),
    ])
    const agent = (await api.call('POST', '/agent/identities', { name: 'bot' })).body
    const robot = (await api.call('POST', '/agent/api-keys', { name: 'ci', agent_uid: agent.uid })).body
    expect((await byKey(robot.key)).status).toBe(403)
    for (const origin of ['https://evil.example', 'null', null])
      expect((await browser.send('POST', `${HERE}/auth/login`, { body: { key: api.key }, origin })).status).toBe(403)
    expect(await session()).toMatchObject({ signed_in: false })
    expect(JSON.stringify(await audit('action=sign_in.refused'))).not.toContain('wk-wrong')
  })
})

describe('a session', () => {
  test('changes something only with its token and from our own pages; a key needs neither', async () => {
    await byKey(api.key)
    const { csrf_token: token } = (await session()).session
    expect((await makeEnvironment()).status).toBe(403)
    expect((await makeEnvironment({ 'x-ambient-csrf': `${token.slice(1)}A` })).status).toBe(403)
    expect((await makeEnvironment({ 'x-ambient-csrf': token }, 'https://evil.example')).status).toBe(403)
    expect((await makeEnvironment({ 'x-ambient-csrf': token }, null)).status).toBe(403)
    expect((await makeEnvironment({ 'x-ambient-csrf': token })).status).toBe(201)
    expect((await makeEnvironment({ authorization: `Bearer ${api.key}` }, 'https://evil.example')).status).toBe(201)
    const other = createBrowser({ [HERE]: api.url })
    await byKey(api.key, other)
    const foreign = (await session(other)).session.csrf_token
    expect((await makeEnvironment({ 'x-ambient-csrf': foreign })).status).toBe(403)
  })

  test('is over at once for who signs out, there or everywhere', async () => {
    const { key, person } = await somebody('ben@example.com')
    const [phone, laptop, desk] = [browser, createBrowser({ [HERE]: api.url }), createBrowser({ [HERE]: api.url })]
    for (const one of [phone, laptop, desk]) await byKey(key, one)
    const { csrf_token: token, uid } = (await session(laptop)).session
    const listed = json(await laptop.open(`${HERE}/auth/sessions`))
    expect(listed.sessions).toMatchObject([{}, { uid, current: true, address: '127.0.0.1' }, {}])
    const stolen = new Map(laptop.cookies(HERE))
    expect((await laptop.send('POST', `${HERE}/auth/logout`, { body: {} })).status).toBe(403)
    const signOut = { body: {}, headers: { 'x-ambient-csrf': token } }
    expect((await laptop.send('POST', `${HERE}/auth/logout`, signOut)).status).toBe(204)
    expect(laptop.cookies(HERE).size).toBe(0)
    for (const [name, value] of stolen) laptop.cookies(HERE).set(name, value)
    expect((await me(laptop)).status).toBe(401)
    expect((await me(desk)).status).toBe(200)
    const form = { csrf_token: (await session(phone)).session.csrf_token, everywhere: 'true' }
    expect((await phone.send('POST', `${HERE}/auth/logout`, { form })).status).toBe(303)
    expect((await me(desk)).status).toBe(401)
    expect(await audit(`actor=${person}&action=sign_out`)).toMatchObject([
      { detail: { everywhere: true, ended: 2 } },
      { detail: { everywhere: false, ended: 1 } },
    ])
  })

  test('that ends takes the streams with it that were opened by it', async () => {
    const { run_id: run } = (await api.call('POST', '/agent/runs', { prompt: 'Do it' })).body
    await byKey(api.key)
    const { csrf_token: token } = (await session()).session
    const [cookie] = [...browser.cookies(HERE)].map((pair) => pair.join('='))
    const stream = await fetch(`${api.url}/api/v1/agent/runs/${run}/events?follow=always`, {
      headers: { accept: 'text/event-stream', cookie: cookie ?? '' },
    })
    expect(stream.status).toBe(200)
    const signOut = { body: {}, headers: { 'x-ambient-csrf': token } }
    expect((await browser.send('POST', `${HERE}/auth/logout`, signOut)).status).toBe(204)
    // All of its text is there when it has ended.
    expect(await stream.text()).toContain('retry:')
  })

  test('ends another one of the same person, and nobody else’s', async () => {
    const { key } = await somebody('ida@example.com')
    const other = createBrowser({ [HERE]: api.url })
    await byKey(key)
    await byKey(key, other)
    const theirs = (await session(other)).session.uid
    const operator = createBrowser({ [HERE]: api.url })
    await byKey(api.key, operator)
    const headers = { 'x-ambient-csrf': (await session()).session.csrf_token }
    const end = (uid: string) => browser.send('DELETE', `${HERE}/auth/sessions/${uid}`, { headers })
    expect((await end((await session(operator)).session.uid)).status).toBe(404)
    expect((await end(theirs)).status).toBe(204)
    expect([(await me(other)).status, (await me(operator)).status, (await me()).status]).toEqual([401, 200, 200])
  })

  test.each([
    ['was not used for too long', { last_used_at: new Date(Date.now() - 25 * 3_600_000) }],
    ['is too old', { expires_at: new Date(Date.now() - 1) }],
    ['was begun with an admin key that is no longer the one', { operator_key_hash: 'another' }],
  ])('that %s is over', async (_what, change) => {
    await byKey(api.key)
    const { uid } = (await session()).session
    await api.db.updateTable('sessions').set(change).where('uid', '=', uid).execute()
    expect((await me()).status).toBe(401)
  })

  test('begins with a new id each time, and ends the one before', async () => {
    await byKey(api.key)
    const before = new Map(browser.cookies(HERE))
    await byKey(api.key)
    expect(browser.cookies(HERE)).not.toEqual(before)
    const old = createBrowser({ [HERE]: api.url })
    for (const [name, value] of before) old.cookies(HERE).set(name, value)
    expect((await me(old)).status).toBe(401)
  })
})
