import { expect, test } from 'vitest'
import { CommitIdentity, Repository } from './run.ts'

const url = 'https://example.com/a.git'
const takes = (field: object) => Repository.safeParse({ url, ...field }).success

test.each(['agent/fix-login', 'v1.2', 'UPPER', 'ünïcode', 'a@b'])('commits can be pushed to a branch %s', (name) => {
  expect(takes({ push_branch: name })).toBe(true)
})

test.each(
  [
    ['', '-x', '-', '@', 'a b', 'a..b', 'a~1', 'a^', 'a:b', 'a?', 'a*', 'a[b', 'a\\b', 'a@{1}', 'a/', '/a', 'a//b'],
    ['.a', 'a/.b', 'a.lock', 'a.lock/b', 'a.', 'refs/heads/a', 'HEAD', 'a\nb', 'a\x7fb'],
  ].flat(),
)('%j is the name of no branch', (name) => {
  expect(takes({ push_branch: name })).toBe(false)
})

test.each([0, -1, 1.5, '1'])('a depth of %j is refused', (depth) => {
  expect(takes({ depth })).toBe(false)
  expect(takes({ depth: 1 })).toBe(true)
})

test('a name that would break out of its place in a commit is refused', () => {
  const takesName = (name: string) => CommitIdentity.safeParse({ name, email: 'a@example.com' }).success
  expect(['Ada Lovelace', 'Zoë'].map(takesName)).toEqual([true, true])
  expect(['', ' ', 'Ada\nparent x', 'Ada <ada@example.com>'].map(takesName)).toEqual([false, false, false, false])
})
