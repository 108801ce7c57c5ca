import { expect, test } from 'vitest'
import { BranchPattern, isBranchOf } from './branch.ts'
import { brokerUrl, gitPlace, gitScope, placeWithin } from './url.ts'

const github = (path: string) => ({ scheme: 'https', host: 'github.com', path })

test.each([
  ['https://github.com/you/app', github('you/app')],
  ['https://GitHub.com/you/app.git/', github('you/app')],
  ['https://user:token@github.com/you/app.git', github('you/app')],
  ['http://127.0.0.1:3000/a/b/c', { scheme: 'http', host: '127.0.0.1:3000', path: 'a/b/c' }],
  // Made plain by what reads URLs.
  ['https://github.com/you/%2e%2e/app', github('app')],
  ['https://github.com/you%2f..%2fapp', null],
  ['https://github.com/you/app%00', null],
  ['https://github.com/', null],
  ['git@github.com:you/app.git', null],
  ['file:///srv/app.git', null],
])('%s is at %j', (url, place) => {
  expect(gitPlace(url)).toEqual(place)
})

test.each([
  ['https://github.com', 'https://github.com/you/app.git', 'you/app'],
  ['https://github.com/you', 'https://github.com/you/app', 'you/app'],
  ['https://github.com/you', 'https://github.com/yours/app', null],
  ['https://github.com/you/app', 'https://github.com/you/app-docs', null],
  ['https://github.com/you/app.git', 'https://github.com/you/app', 'you/app'],
  ['https://github.com', 'http://github.com/you/app', null],
  ['https://github.com', 'git@github.com:you/app.git', 'you/app'],
  ['https://github.com', 'ssh://git@github.com/you/app.git', 'you/app'],
  ['https://github.com', 'ssh://git@github.com:2222/you/app.git', null],
  ['https://git.example.com:8443', 'git@git.example.com:you/app', 'you/app'],
])('a credential for %s has %s as %j', (scope, url, path) => {
  const within = gitScope(scope)
  expect(within && placeWithin(within, url)?.path).toBe(path ?? undefined)
})

test('what a path has that would mean something else in a URL stays a name', () => {
  const place = gitPlace('https://git.example.com/a%20b/c+d')
  expect(place && brokerUrl('http://gateway:8421', place)).toBe(
    'http://gateway:8421/git/https/git.example.com/a%20b/c%2Bd.git',
  )
})

test.each([
  ['agent/*', 'agent/work', true],
  ['agent/*', 'agent/deep/work', false],
  ['agent/**', 'agent/deep/work', true],
  ['agent/*', 'agents', false],
  ['a.b', 'axb', false],
  ['**', 'any/thing', true],
  ['release-*-x', 'release-1.2-x', true],
])('%s has %s: %s', (pattern, branch, is) => {
  expect(isBranchOf(pattern, branch)).toBe(is)
})

test('a pattern that takes long to compare is none', () => {
  expect(BranchPattern.safeParse('*a*b*c*').success).toBe(false)
  expect(BranchPattern.safeParse('../x').success).toBe(false)
  expect(isBranchOf('**a**a**b', 'a'.repeat(255))).toBe(false)
})
