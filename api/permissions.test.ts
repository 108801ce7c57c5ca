import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Action, may, type Role, type Scope, type ShareLevel, type Standing } from '../domain/permission.ts'
import { createApiKey, type NewKey } from '../store/accounts/api-keys.ts'
import { insertIdentity } from '../store/accounts/identities.ts'
import { personByEmail } from '../store/accounts/people.ts'
import { addMember, insertTeam } from '../store/accounts/teams.ts'
import { reportArtifact } from '../store/runs/artifacts.ts'
import { shareRun } from '../store/runs/run-shares.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { routesOf } from '../test/support/express-routes.ts'
import { givenRun } from '../test/support/runs.ts'

/** What a route is about decides whose role counts, and what those are told who may not know of it. */
type About = 'team' | 'run' | 'named team'

const inTeam = (action: Action) => ({ action, about: 'team' as About })
const onRun = (action: Action) => ({ action, about: 'run' as About })
const inNamedTeam = (action: Action) => ({ action, about: 'named team' as About })

/** Every route that asks who somebody is, below /api/v1/agent. */
const table: Record<string, { action: Action; about: About }> = {
  'GET ': inTeam('catalogue.view'),
  'GET /harnesses': inTeam('catalogue.view'),
  'GET /me': inTeam('account.view'),

  'GET /runs': inTeam('runs.view'),
  'POST /runs': inTeam('runs.create'),
  'POST /run': inTeam('runs.create'),
  'GET /runs/:runId': onRun('runs.view'),
  'GET /runs/:runId/events': onRun('runs.view'),
  'GET /runs/:runId/timeline': onRun('runs.view'),
  'GET /runs/:runId/diff': onRun('runs.view'),
  'GET /runs/:runId/checkpoints': onRun('runs.view'),
  'POST /runs/:runId/followups': onRun('runs.steer'),
  'POST /runs/:runId/answers': onRun('runs.answer'),
  'POST /runs/:runId/cancel': onRun('runs.cancel'),
  'POST /tasks/:runId/cancel': onRun('runs.cancel'),
  'GET /runs/:runId/shares': onRun('runs.share'),
  'POST /runs/:runId/shares': onRun('runs.share'),
  'DELETE /runs/:runId/shares/:shareUid': onRun('runs.share'),

  'GET /runs/:runId/conversation': onRun('runs.view'),
  'GET /runs/:runId/transcript': onRun('runs.view'),
  'GET /conversations/:conversationId': onRun('runs.view'),
  'GET /conversations/:conversationId/transcript': onRun('runs.view'),
  'GET /runs/:runId/handoff/attachments': onRun('runs.view'),
  'GET /artifacts/:uid': onRun('runs.view'),
  'GET /artifacts/:uid/download': onRun('runs.view'),
  'GET /runs/:runId/pull-requests': onRun('runs.view'),
  'POST /runs/:runId/pull-requests': onRun('runs.steer'),
  'POST /runs/:runId/scores': onRun('runs.score'),
  'GET /run-by-external-reference': inTeam('runs.view'),
  'GET /models': inTeam('catalogue.view'),
  'GET /models/rules': inTeam('catalogue.view'),
  'PUT /models/rules': inTeam('models.manage'),
  'GET /providers': inTeam('models.manage'),
  'POST /providers': inTeam('models.manage'),
  'GET /providers/:uid': inTeam('models.manage'),
  'PUT /providers/:uid': inTeam('models.manage'),
  'DELETE /providers/:uid': inTeam('models.manage'),
  'GET /statistics': inTeam('statistics.view'),

  'GET /credits': inTeam('credits.view'),
  'POST /credits/grants': inTeam('credits.grant'),
  'GET /ledger': inTeam('credits.view'),
  'GET /budgets': inTeam('budgets.view'),
  'POST /budgets': inTeam('budgets.manage'),
  'GET /budgets/:budgetUid': inTeam('budgets.view'),
  'PUT /budgets/:budgetUid': inTeam('budgets.manage'),
  'DELETE /budgets/:budgetUid': inTeam('budgets.manage'),
  'GET /runs/:runId/budget': onRun('runs.view'),
  'POST /runs/:runId/budget': onRun('budgets.raise'),

  'GET /profiles': inTeam('profiles.view'),
  'POST /profiles': inTeam('profiles.manage'),
  'GET /profiles/:uid': inTeam('profiles.view'),
  'PUT /profiles/:uid': inTeam('profiles.manage'),
  'DELETE /profiles/:uid': inTeam('profiles.manage'),
  'GET /profiles/:uid/versions': inTeam('profiles.view'),
  'GET /rules': inTeam('rules.view'),
  'POST /rules': inTeam('rules.manage'),
  'GET /rules/:uid': inTeam('rules.view'),
  'PUT /rules/:uid': inTeam('rules.manage'),
  'DELETE /rules/:uid': inTeam('rules.manage'),
  'GET /rules/:uid/versions': inTeam('rules.view'),
  'GET /prompts': inTeam('prompts.view'),
  'POST /prompts': inTeam('prompts.manage'),
  'GET /prompts/:uid': inTeam('prompts.view'),
  'PUT /prompts/:uid': inTeam('prompts.manage'),
  'DELETE /prompts/:uid': inTeam('prompts.manage'),
  'GET /prompts/:uid/versions': inTeam('prompts.view'),

  'GET /git-credentials': inTeam('git_credentials.view'),
  'POST /git-credentials': inTeam('git_credentials.own'),
  'GET /git-credentials/:uid': inTeam('git_credentials.view'),
  'PUT /git-credentials/:uid': inTeam('git_credentials.own'),
  'DELETE /git-credentials/:uid': inTeam('git_credentials.own'),

  'GET /mcp-servers': inTeam('mcp_servers.view'),
  'POST /mcp-servers': inTeam('mcp_servers.manage'),
  'GET /mcp-servers/:uid': inTeam('mcp_servers.view'),
  'PUT /mcp-servers/:uid': inTeam('mcp_servers.manage'),
  'DELETE /mcp-servers/:uid': inTeam('mcp_servers.manage'),

  'GET /schedules': inTeam('schedules.view'),
  'POST /schedules': inTeam('schedules.manage'),
  'GET /schedules/:id': inTeam('schedules.view'),
  'PUT /schedules/:id': inTeam('schedules.manage'),
  'DELETE /schedules/:id': inTeam('schedules.manage'),
  'POST /schedules/:id/pause': inTeam('schedules.manage'),
  'POST /schedules/:id/resume': inTeam('schedules.manage'),
  'POST /schedules/:id/run': inTeam('runs.create'),
  'POST /schedules/:id/backfill': inTeam('schedules.manage'),
  'GET /schedules/:id/upcoming': inTeam('schedules.view'),
  'GET /schedules/:id/runs': inTeam('schedules.view'),

  'GET /secrets': inTeam('secrets.view'),
  'POST /secrets': inTeam('secrets.view'),
  'GET /secrets/:secretUid': inTeam('secrets.view'),
  'PATCH /secrets/:secretUid': inTeam('secrets.view'),
  'DELETE /secrets/:secretUid': inTeam('secrets.view'),
  'GET /vault': inTeam('vault.manage'),
  'POST /vault/rotate': inTeam('vault.manage'),

  'GET /webhooks': inTeam('webhooks.manage'),
  'POST /webhooks': inTeam('webhooks.manage'),
  'GET /webhooks/:uid': inTeam('webhooks.manage'),
  'PUT /webhooks/:uid': inTeam('webhooks.manage'),
  'DELETE /webhooks/:uid': inTeam('webhooks.manage'),
  'POST /webhooks/:uid/secret': inTeam('webhooks.manage'),
  'POST /webhooks/:uid/ping': inTeam('webhooks.manage'),
  'GET /webhooks/:uid/deliveries': inTeam('webhooks.manage'),
  'POST /webhooks/:uid/deliveries/:deliveryId/resend': inTeam('webhooks.manage'),

  'GET /environments': inTeam('environments.view'),
  'POST /environments': inTeam('environments.manage'),
  'GET /environments/:uid': inTeam('environments.view'),
  'PUT /environments/:uid': inTeam('environments.manage'),
  'DELETE /environments/:uid': inTeam('environments.manage'),
  'GET /environments/:uid/builds': inTeam('environments.view'),
  'POST /environments/:uid/builds': inTeam('environments.manage'),
  'GET /environments/:uid/builds/:buildId': inTeam('environments.view'),
  'POST /environments/:uid/builds/:buildId/cancel': inTeam('environments.manage'),
  'GET /environments/:uid/builds/:buildId/log': inTeam('environments.view'),

  'GET /workers': inTeam('workers.view'),
  'GET /connected-self-hosted-workers': inTeam('workers.view'),
  'GET /workers/keys': inTeam('workers.manage'),
  'POST /workers/keys': inTeam('workers.manage'),
  'DELETE /workers/keys/:keyId': inTeam('workers.manage'),
  'POST /workers/:workerId/drain': inTeam('workers.manage'),
  'POST /workers/:workerId/undrain': inTeam('workers.manage'),
  'DELETE /workers/:workerId': inTeam('workers.manage'),

  'GET /teams': inTeam('account.view'),
  'POST /teams': inTeam('teams.manage'),
  'GET /teams/:team': inNamedTeam('account.view'),
  'PATCH /teams/:team': inTeam('teams.manage'),
  'DELETE /teams/:team': inTeam('teams.manage'),
  'GET /teams/:team/members': inNamedTeam('members.view'),
  'POST /teams/:team/members': inNamedTeam('members.manage'),
  'GET /teams/:team/members/:person': inNamedTeam('members.view'),
  'PATCH /teams/:team/members/:person': inNamedTeam('members.manage'),
  'DELETE /teams/:team/members/:person': inNamedTeam('members.manage'),
  'GET /people': inTeam('members.view'),
  'POST /people': inTeam('people.manage'),
  'GET /people/:person': inTeam('members.view'),
  'PATCH /people/:person': inTeam('people.manage'),
  'DELETE /people/:person': inTeam('people.manage'),
  'GET /api-keys': inTeam('keys.own'),
  'POST /api-keys': inTeam('keys.own'),
  'DELETE /api-keys/:keyUid': inTeam('keys.own'),
  'GET /identities': inTeam('identities.view'),
  'POST /identities': inTeam('identities.manage'),
  'GET /identities/:identityUid': inTeam('identities.view'),
  'PUT /identities/:identityUid': inTeam('identities.manage'),
  'DELETE /identities/:identityUid': inTeam('identities.manage'),

  'GET /audit-log': inTeam('audit.view'),
  'GET /audit-log/verify': inTeam('audit.view'),
}

/** Routes that ask nobody for an API key of a person, and why. */
const others: Record<string, string> = {
  'GET /api/v1/agent/conversations/:conversationId/redirect': 'tells a field of a run to whoever knows its id',
  'GET /api/v1/agent/sessions/:sessionUuid/redirect': 'tells a field of a run to whoever knows its id',
  'GET /': 'leads to the page for signing in',
  'GET /auth/login': 'is for whoever is not signed in yet',
  'POST /auth/login': 'is for whoever is not signed in yet',
  'GET /auth/callback': 'is for whoever is not signed in yet',
  'POST /auth/logout': 'ends the session that it comes with',
  'GET /auth/session': 'tells of the session that it comes with',
  'GET /auth/sessions': 'tells of the sessions of whoever has the one that it comes with',
  'DELETE /auth/sessions/:sessionUid': 'ends one of those',
  'GET /r/:token': 'has its right in the link',
  'GET /links/contents/:uid/:mimeType/:fileName': 'has its right in the link',
  'GET /links/transcripts/:runIds': 'has its right in the link',
  'GET /healthz': 'tells that the server is well, and nothing of what it has',
  'GET /metrics': 'has a key of its own',
  'GET /api/v1/openapi.json': 'is the same everywhere',
  'GET /api/v1/docs': 'is the same everywhere',
}

const AGENT = '/api/v1/agent'
const HOSTS = '/internal/v1'

let api: TestApi
/** A run of the first team, one that a viewer of it has made, and a personal one of a member. */
let runs: Record<'ofTeam' | 'ofViewer' | 'personal', string>
let team: string
const keys: Record<string, string> = {}
const artifacts: Record<string, string> = {}

interface Somebody {
  key: string
  type: Standing['type']
  scope: Scope
  /** In the first team, which all runs are of. */
  role: Role | null
  /** In the team that their requests are about. */
  ownRole: Role
  shared?: ShareLevel
  /** The run that they made. */
  made?: keyof typeof runs
}

const user = { type: 'user', scope: 'admin' } as const

const somebodies: Record<string, Somebody> = {
  'the operator': { ...user, type: 'operator', key: 'operator', role: 'admin', ownRole: 'admin' },
  'an admin': { ...user, key: 'admin', role: 'admin', ownRole: 'admin' },
  'a member': { ...user, key: 'member', role: 'member', ownRole: 'member', made: 'personal' },
  'a viewer': { ...user, key: 'viewer', role: 'viewer', ownRole: 'viewer', made: 'ofViewer' },
  'an admin of another team': { ...user, key: 'stranger', role: null, ownRole: 'admin' },
  'a viewer of another team with the runs shared to view': {
    ...{ ...user, key: 'watcher', role: null },
    ...{ ownRole: 'viewer', shared: 'view' },
  },
  'a viewer of another team with the runs shared to steer': {
    ...{ ...user, key: 'driver', role: null },
    ...{ ownRole: 'viewer', shared: 'steer' },
  },
  'a viewer with the runs shared to steer': {
    ...{ ...user, key: 'helper', role: 'viewer' },
    ...{ ownRole: 'viewer', shared: 'steer' },
  },
  'an admin with a key to read': { ...user, key: 'reading', scope: 'read', role: 'admin', ownRole: 'admin' },
  'an admin with a key to run': { ...user, key: 'running', scope: 'run', role: 'admin', ownRole: 'admin' },
  'an admin with a key to manage': { ...user, key: 'managing', scope: 'manage', role: 'admin', ownRole: 'admin' },
  'the same with runs shared, and a key to read': {
    ...{ ...user, key: 'timid', scope: 'read', role: null },
    ...{ ownRole: 'viewer', shared: 'steer' },
  },
  'a service account': {
    ...{ ...user, type: 'service_account', key: 'agent' },
    ...{ role: 'member', ownRole: 'member' },
  },
}

beforeAll(async () => {
  // Keys that are no good are tried on every route.
  api = await startTestApi({ env: { AMBIENT_WRONG_KEYS: '0' } })
  const { db } = api
  let people = { member: '', viewer: '', watcher: '', driver: '', timid: '', helper: '' }
  await db.transaction().execute(async (tx) => {
    const by = { type: 'operator', uid: 'operator' } as const
    team = (await insertTeam(tx, { name: 'First', runLimit: null, standard: 10, by })).uid
    const other = (await insertTeam(tx, { name: 'Second', runLimit: null, standard: 10, by })).uid
    const key = async (name: string, asked: Partial<NewKey> & Pick<NewKey, 'owner'>) => {
      const made = {
        name,
        team: null,
        scope: 'admin',
        expiresAt: null,
        createdBy: by,
        madeWith: null,
        ...asked,
      } as const
      const { key, item } = await createApiKey(tx, made)
      keys[name] = key
      return item.uid
    }
    const person = async (name: string, where: string, role: Role) => {
      const { uid } = await personByEmail(tx, { email: `${name}@example.org` })
      await addMember(tx, where, uid, role)
      await key(name, { owner: { person: uid } })
      return uid
    }
    const admin = await person('admin', team, 'admin')
    const member = await person('member', team, 'member')
    const viewer = await person('viewer', team, 'viewer')
    const helper = await person('helper', team, 'viewer')
    await person('stranger', other, 'admin')
    const watcher = await person('watcher', other, 'viewer')
    const driver = await person('driver', other, 'viewer')
    const timid = await person('timid', other, 'viewer')
    await key('timid', { owner: { person: timid }, scope: 'read' })
    for (const [name, scope] of [
      ['reading', 'read'],
      ['running', 'run'],
      ['managing', 'manage'],
    ] as const)
      await key(name, { owner: { person: admin }, scope })
    await key('expired', { owner: { person: admin }, expiresAt: new Date(Date.now() - 1) })
    const revoked = await key('revoked', { owner: { person: admin } })
    await tx.updateTable('api_keys').set({ revoked_at: new Date() }).where('uid', '=', revoked).execute()
    const gone = await person('disabled', team, 'admin')
    await tx.updateTable('people').set({ disabled_at: new Date() }).where('uid', '=', gone).execute()
    const identity = await insertIdentity(tx, team, { name: 'CI', config: {}, onBehalfOf: false }, by)
    await key('agent', { owner: { agent: identity.uid }, team })
    people = { member, viewer, watcher, driver, timid, helper }
  })
  const madeBy = (uid: string) => ({ team, created_by_type: 'user', created_by: uid }) as const
  const { member, viewer, watcher, driver, timid, helper } = people
  runs = {
    ofTeam: (await givenRun(db, { team })).runId,
    ofViewer: (await givenRun(db, madeBy(viewer))).runId,
    personal: (await givenRun(db, { ...madeBy(member), scope: 'User' })).runId,
  }
  const by = { type: 'operator', uid: 'operator' } as const
  await db.transaction().execute(async (tx) => {
    for (const runId of Object.values(runs)) {
      artifacts[runId] = await reportArtifact(tx, { id: runId, execution: 1 }, { key: 'plan', type: 'PLAN', data: {} })
    }
    for (const runId of Object.values(runs))
      for (const [person, level] of [
        [watcher, 'view'],
        [driver, 'steer'],
        [timid, 'steer'],
        [helper, 'steer'],
      ] as const)
        await shareRun(tx, { runId, target: { with: 'person', person }, level, expiresAt: null, by })
  })
  keys.operator = api.key
})
afterAll(() => api.close())

const ask = (key: string, route: string, run: string = runs.ofTeam) => {
  const [method = '', path = ''] = route.split(' ')
  const filled = path
    .replace(/:runId|:conversationId/, run)
    .replace('/artifacts/:uid', `/artifacts/${artifacts[run]}`)
    // Whoever may delete teams is not to delete this one: the first team of a server stays.
    .replace(':team', route === 'DELETE /teams/:team' ? 'default' : team)
    .replace(/:(keyId|buildId|deliveryId)/g, randomUUID())
    .replace(/:\w+/g, 'A'.repeat(22))
  const headers = {
    authorization: `Bearer ${keys[key]}`,
    ...(key === 'operator' && { 'x-warp-team-uid': team }),
  }
  return api.call(method, `/agent${filled}`, method === 'GET' || method === 'DELETE' ? undefined : {}, headers)
}

/** What the table says of somebody, a route and a run. */
function expected(route: string, who: Somebody, run: keyof typeof runs): 'let in' | 403 | 404 {
  const { action, about } = table[route] ?? { action: 'account.view', about: 'team' }
  const { type, scope, role, ownRole, shared = null } = who
  if (about === 'team') return may(action, { type, scope, role: ownRole }) ? 'let in' : 403
  if (about === 'named team') return role === null ? 404 : may(action, { type, scope, role }) ? 'let in' : 403
  const isOwner = who.made === run
  const standing = {
    type,
    scope,
    role: run === 'personal' && role !== 'admin' && !isOwner ? null : role,
    isOwner,
    shared,
  }
  return !may('runs.view', standing) ? 404 : may(action, standing) ? 'let in' : 403
}

async function met(route: string, who: Somebody, run: keyof typeof runs): Promise<'let in' | number> {
  const { status, body } = await ask(who.key, route, runs[run])
  if (status === 401 || status === 403) return status
  const hidden = [
    ...['run', 'conversation'].map((thing) => `There is no ${thing} ${runs[run]}.`),
    `There is no artifact ${artifacts[runs[run]]}.`,
    `There is no team ${team}.`,
  ]
  return status === 404 && hidden.includes(body.detail) ? 404 : 'let in'
}

test('every route is in the table', () => {
  const all = routesOf(api.app).map(({ method, path }) => ({ method: method.toUpperCase(), path }))
  const isAsked = ({ method, path }: (typeof all)[number]) => !(`${method} ${path}` in others)
  const ofAgent = all.filter((route) => isAsked(route) && (route.path === AGENT || route.path.startsWith(`${AGENT}/`)))
  const found = ofAgent.map(({ method, path }) => `${method} ${path.slice(AGENT.length)}`)
  expect(found.sort()).toEqual(Object.keys(table).sort())
  const elsewhere = all.filter((route) => !ofAgent.includes(route) && !route.path.startsWith(HOSTS))
  expect(elsewhere.map(({ method, path }) => `${method} ${path}`).sort()).toEqual(Object.keys(others).sort())
})

describe.each(Object.keys(somebodies))('%s', (name) => {
  test('may do what the table says, on every route', async () => {
    const who = somebodies[name] as Somebody
    for (const run of ['ofTeam', 'ofViewer', 'personal'] as const) {
      const routes = Object.keys(table).filter((route) => run === 'ofTeam' || table[route]?.about === 'run')
      const results = await Promise.all(routes.map(async (route) => [route, await met(route, who, run)]))
      const wanted = routes.map((route) => [route, expected(route, who, run)])
      expect({ run, ...Object.fromEntries(results) }).toEqual({ run, ...Object.fromEntries(wanted) })
    }
  })
})

test.each(['expired', 'revoked', 'disabled'])('a key that is %s gets in nowhere', async (key) => {
  const met = await Promise.all(Object.keys(table).map(async (route) => [route, (await ask(key, route)).status]))
  expect(Object.fromEntries(met)).toEqual(Object.fromEntries(Object.keys(table).map((route) => [route, 401])))
})

test('nobody gets into the interface of the hosts by an API key', async () => {
  const ofHosts = routesOf(api.app).filter(({ path }) => path.startsWith(HOSTS))
  expect(ofHosts.length).toBeGreaterThan(10)
  const met = await Promise.all(
    ofHosts.map(async ({ method, path }) => {
      const target = path.replaceAll(/:\w+/g, '1')
      const headers = { authorization: `Bearer ${keys.admin}` }
      return (await fetch(`${api.url}${target}`, { method: method.toUpperCase(), headers })).status
    }),
  )
  expect(new Set(met)).toEqual(new Set([401]))
})
