import { expect, test } from 'vitest'
import { isFor, NewRule, repositoryName } from './rule.ts'

const fits = (repositories: string[], ...urls: string[]) =>
  isFor({ repositories, environment_ids: [] }, { repositories: urls, environmentId: null })

test.each([
  ['https://github.com/You/Project.git', 'github.com/you/project'],
  ['https://user:token@git.example:8443/a/b/c', 'git.example/a/b/c'],
  ['git@github.com:you/project.git', 'github.com/you/project'],
  ['ssh://git@github.com/you/project', 'github.com/you/project'],
  ['file:///srv/git/project', 'srv/git/project'],
])('%s is the repository %s', (url, name) => {
  expect(repositoryName(url)).toBe(name)
})

test('a pattern fits from its end, by whole names, without regard to capitals', () => {
  const url = 'https://github.com/you/my-app.git'
  const fitting = [
    'you/my-app',
    'YOU/my-*',
    'you/*',
    '*/my-app',
    'github.com/you/*',
    'github.com/**',
    '**/*-app',
    'my-app',
  ]
  for (const pattern of fitting) expect([pattern, fits([pattern], url)]).toEqual([pattern, true])
  for (const pattern of ['ou/my-app', 'you/my', 'you', 'gitlab.com/**', 'you/*/my-app', 'github.com/my-app'])
    expect([pattern, fits([pattern], url)]).toEqual([pattern, false])
})

test('a rule without patterns is for all runs, and one with patterns for none without a repository', () => {
  expect([fits([]), fits(['you/*']), fits(['other/*', 'you/*'], 'https://x.test/a/b', 'https://x.test/you/b')]).toEqual(
    [true, false, true],
  )
})

test.each(['', '/a', 'a//b', 'a/', 'a b', 'a/***', 'a/x**', 'https://x/y', 'a*b*c/d'])(
  '%j is refused as a pattern',
  (pattern) => {
    expect(NewRule.safeParse({ name: 'r', text: 'x', repositories: [pattern] }).success).toBe(false)
  },
)
