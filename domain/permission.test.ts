import { expect, test } from 'vitest'
import { type Action, actions, may, permissions, roles, type Scope, type Standing, scopes } from './permission.ts'

const can = (standing: Partial<Standing>) =>
  actions.filter((action) => may(action, { type: 'user', scope: 'admin', role: null, ...standing }))

const viewing: Action[] = [
  ...([
    'account.view',
    'catalogue.view',
    'runs.view',
    'environments.view',
    'profiles.view',
    'prompts.view',
    'rules.view',
    'schedules.view',
  ] as const),
  ...(['identities.view', 'members.view', 'workers.view', 'statistics.view'] as const),
  ...(['credits.view', 'budgets.view'] as const),
  'secrets.view',
  'mcp_servers.view',
  'git_credentials.view',
]
const working: Action[] = ['runs.create', 'runs.steer', 'runs.answer', 'runs.cancel', 'runs.score']
const managing: Action[] = [
  'environments.manage',
  'profiles.manage',
  'prompts.manage',
  'rules.manage',
  'schedules.manage',
  'identities.manage',
  'secrets.manage',
  'mcp_servers.manage',
  'git_credentials.manage',
]
const administering: Action[] = [
  ...(['runs.share', 'identities.delegate', 'keys.manage', 'members.manage', 'webhooks.manage', 'audit.view'] as const),
  ...(['budgets.manage', 'budgets.raise', 'models.manage'] as const),
]
const operating: Action[] = ['teams.manage', 'people.manage', 'workers.manage', 'vault.manage', 'credits.grant']

/** About what is a person’s own, whatever their role. */
const owning: Action[] = ['keys.own', 'secrets.own', 'git_credentials.own']

const same = (found: readonly Action[], wanted: readonly Action[]) =>
  expect([...found].sort()).toEqual([...wanted].sort())

test('every action is somebody’s, and there is no other', () => {
  same(actions, [...viewing, ...working, ...managing, ...owning, ...administering, ...operating])
})

test('a viewer sees, a member works and manages, an admin sees to the team, and only the operator to all teams', () => {
  same(can({ role: 'viewer' }), [...viewing, ...owning])
  same(can({ role: 'member' }), [...viewing, ...owning, ...working, ...managing])
  same(can({ role: 'admin' }), [...viewing, ...owning, ...working, ...managing, ...administering])
  same(can({ role: 'admin', type: 'operator' }), actions)
})

test('whoever is in no team of the thing may do nothing, not even as its maker', () => {
  same(can({}), [])
  same(can({ isOwner: true }), [])
})

test('the maker of a run may do with it what a viewer may not', () => {
  same(can({ role: 'viewer', isOwner: true }), [
    ...viewing,
    ...owning,
    ...(['runs.steer', 'runs.answer', 'runs.cancel', 'runs.score', 'runs.share', 'budgets.raise'] as const),
  ])
})

test('a share lets see a run, or steer it, and nothing else', () => {
  same(can({ shared: 'view' }), ['runs.view'])
  same(can({ shared: 'steer' }), ['runs.view', 'runs.steer', 'runs.answer', 'runs.cancel'])
})

test('a key of a smaller scope is good for less, whoever has it', () => {
  same(can({ role: 'admin', scope: 'read' }), viewing)
  same(can({ role: 'admin', scope: 'run' }), [
    ...viewing,
    ...working,
    'runs.share',
    'budgets.raise',
    'secrets.own',
    'git_credentials.own',
  ])
  same(can({ role: 'admin', scope: 'manage' }), [
    ...viewing,
    ...working,
    'runs.share',
    'budgets.raise',
    'budgets.manage',
    ...managing,
    ...owning,
    'webhooks.manage',
  ])
})

test('a service account sees to no people, keys and service accounts, whatever its role and scope', () => {
  const only: Action[] = [
    'identities.manage',
    'identities.delegate',
    'keys.own',
    'secrets.own',
    'keys.manage',
    'members.manage',
    'budgets.manage',
    'budgets.raise',
    'models.manage',
  ]
  same(
    can({ role: 'admin', type: 'service_account' }),
    actions.filter((action) => !only.includes(action) && !operating.includes(action)),
  )
})

test('more of a role or a scope never takes anything away', () => {
  const of = (role: Standing['role'], scope: Scope) => can({ role, scope })
  for (const [at, scope] of scopes.entries()) {
    for (const [rank, role] of roles.entries()) {
      const here = of(role, scope)
      const wider = scopes[at + 1]
      const higher = roles[rank - 1]
      if (wider) expect(of(role, wider)).toEqual(expect.arrayContaining(here))
      if (higher) expect(of(higher, scope)).toEqual(expect.arrayContaining(here))
    }
  }
})

test('each action says in words what it is', () => {
  for (const { means } of Object.values(permissions)) expect(means).toMatch(/^\w.*[^.]$/)
})
