import { expect, test } from 'vitest'
import type { InlineEnvironment } from '../../domain/run.ts'
import { contentKey, type FamilyOptions, familyOf } from './key.ts'

const environment: InlineEnvironment = {
  repos: [{ url: 'https://example.com/one.git' }],
  setup_commands: ['make'],
  env: { A: '1', B: '2' },
}
const host = { kind: 'docker', owner: { uid: 1000, gid: 1000 }, image: 'base:1' } as const

const options = (change: Partial<InlineEnvironment> = {}, others: Partial<FamilyOptions> = {}): FamilyOptions => ({
  ...{ host, team: 'default', environment: { ...environment, ...change } },
  ...others,
})

test('the content key changes with each thing that a set-up is made of', () => {
  const key = (
    family: FamilyOptions,
    { image = 'sha256:1', commit = 'a'.repeat(40), record = null as unknown } = {},
  ): string =>
    contentKey({
      ...{ family: familyOf(family), image: { name: 'base:1', id: image }, record },
      repositories: [{ path: 'one', commit, branch: null }],
    })
  const keys = [
    key(options()),
    key(options(), { image: 'sha256:2' }),
    key(options(), { commit: 'b'.repeat(40) }),
    key(options(), { record: { user: 'node' } }),
    key(options({ image: 'other:1' })),
    key(options({ setup_commands: ['make all'] })),
    key(options({ env: { A: '1', B: '3' } })),
    key(options({ repos: [{ url: 'https://example.com/two.git', path: 'one' }] })),
    key(options({ repos: [{ url: 'https://example.com/one.git', ref: 'next' }] })),
    key(options({ repos: [{ url: 'https://example.com/one.git', path: 'elsewhere' }] })),
    key(options({ setup_inputs: ['*.lock'] })),
    key(options({}, { team: 'other' })),
    key(options({}, { host: { ...host, kind: 'direct' } })),
    key(options({}, { host: { ...host, owner: { uid: 0, gid: 0 } } })),
    key(options({}, { host: { ...host, image: 'base:2' } })),
  ]
  expect(new Set(keys).size).toBe(keys.length)
})

test('credentials and the order of fields are nothing that a set-up is made of', () => {
  const same = { repos: [{ path: 'one', url: 'https://user:token@example.com/one.git' }], env: { B: '2', A: '1' } }
  expect(familyOf(options(same))).toBe(familyOf(options()))
})

test('what becomes of the commits is nothing that a set-up is made of, but for a branch that it was made on', () => {
  const url = 'https://example.com/one.git'
  const asked = { draft: true, labels: ['agent'] }
  const family = (fields: object) => familyOf(options({ repos: [{ url, ...fields }] }))
  const own = 'ambient/0198c0de-7a11-7000-8000-000000000001'
  expect(family({ pull_request: asked })).toBe(family({}))
  expect(family({ pull_request: asked, push_branch: own })).toBe(family({}))
  expect(family({ pull_request: asked, push_branch: 'agent/work' })).toBe(family({ push_branch: 'agent/work' }))
  expect(family({ push_branch: 'agent/work' })).not.toBe(family({}))
})
