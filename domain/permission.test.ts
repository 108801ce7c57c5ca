import { expect, test } from 'vitest'
import { type Action, actions, may, permissions, roles, type Scope, type Standing, scopes } from './permission.ts'

const can = (standing: Partial<Standing>) =>
  actions.filter((action) => may(action, { type: 'user', scope: 'admin', role: null, ...standing }))

const viewing: Action[] = [
  ...(['account.view', 'catalogue.view', 'runs.view', 'environments.view', 'schedules.view'] as const),
  ...(['identities.view', 'members.view', 'workers.view', 'statistics.view'] as const),
]
const working: Action[] = ['runs.create', 'runs.steer', 'runs.answer', 'runs.cancel', 'runs.score']
const managing: Action[] = ['environments.manage', 'schedules.manage', 'identities.manage']
const administering: Action[] = [
  ...(['runs.share', 'identities.delegate', 'keys.manage', 'members.manage', 'webhooks.manage', 'audit.view'] as const),
]
const operating: Action[] = ['teams.manage', 'people.manage', 'workers.manage']

const same = (found: readonly Action[], wanted: readonly Action[]) =>
  expect([...found].sort()).toEqual([...wanted].sort())

test('every action is somebody’s, and there is no other', () => {
  same(actions, [...viewing, ...working, ...managing, 'keys.own', ...administering, ...operating])
})

test('a viewer sees, a member works and manages, an admin sees to the team, and only the operator to all teams', () => {
  same(can({ role: 'viewer' }), [...viewing, 'keys.own'])
  same(can({ role: 'member' }), [...viewing, 'keys.own', ...working, ...managing])
  same(can({ role: 'admin' }), [...viewing, 'keys.own', ...working, ...managing, ...administering])
  same(can({ role: 'admin', type: 'operator' }), actions)
})

test('whoever is in no team of the thing may do nothing, not even as its maker', () => {
  same(can({}), [])
  same(can({ isOwner: true }), [])
})

test('the maker of a run may do with it what a viewer may not', () => {
  same(can({ role: 'viewer', isOwner: true }), [
    ...viewing,
    'keys.own',
    ...(['runs.steer', 'runs.answer', 'runs.cancel', 'runs.score', 'runs.share'] as const),
  ])
})

test('a share lets see a run, or steer it, and nothing else', () => {
  same(can({ shared: 'view' }), ['runs.view'])
  same(can({ shared: 'steer' }), ['runs.view', 'runs.steer', 'runs.answer', 'runs.cancel'])
})

test('a key of a smaller scope is good for less, whoever has it', () => {
  same(can({ role: 'admin', scope: 'read' }), viewing)
  same(can({ role: 'admin', scope: 'run' }), [...viewing, ...working, 'runs.share'])
  same(can({ role: 'admin', scope: 'manage' }), [
    ...viewing,
    ...working,
    'runs.share',
    ...managing,
    'keys.own',
    'webhooks.manage',
  ])
})

test('a service account sees to no people, keys and service accounts, whatever its role and scope', () => {
  const only: Action[] = ['identities.manage', 'identities.delegate', 'keys.own', 'keys.manage', 'members.manage']
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
