import { expect, test } from 'vitest'
import { isReference, managedServer, mapValues, secretsInUrl, shownServer, withStoredValues } from './values.ts'

const missing = (place: string) => new Error(place)

test('shows a value where it is nothing but names of secrets, and hides every other', () => {
  const env = { A: `\${A}`, B: `Bearer \${A}`, C: `x\${A}`, D: `\${A:-secret}`, E: 'secret' }
  expect(shownServer({ env })).toEqual({ env: { A: `\${A}`, B: `Bearer \${A}`, C: '***', D: '***', E: '***' } })
  expect(shownServer({ args: ['--key=1', `\${A}`] })).toEqual({ args: ['***', `\${A}`] })
  expect(isReference('')).toBe(false)
})

test.each([
  ['https://a.example', 'https://a.example'],
  ['https://a.example/', 'https://a.example/'],
  ['https://a.example/s/secret/mcp', 'https://a.example/***'],
  [`https://a.example/\${A}?b=\${A}`, `https://a.example/\${A}?b=\${A}`],
  ['https://a.example?one=1&two=&three', 'https://a.example?one=***&two=&***'],
  ['https://a.example\\secret', 'https://a.example\\***'],
  ['https://a.example/mcp#secret', 'https://a.example/***#***'],
])('shows of the URL %s where it leads, and no more', (url, shown) => {
  expect(shownServer({ url })).toEqual({ url: shown })
})

test('shows whoever may manage servers what is started, and where, and no credential', () => {
  const server = { args: ['--stdio'], env: { A: 'x' }, headers: { b: 'x' }, url: 'https://a.example/mcp?key=x' }
  expect(managedServer(server)).toEqual({
    ...server,
    env: { A: '***' },
    headers: { b: '***' },
    url: 'https://a.example/mcp?key=***',
  })
})

test('takes what was shown for what is stored, value by value', () => {
  const server = { args: ['a', 'b'], url: 'https://a.example/s/secret?k=1&k=2&bare#end' }
  expect(withStoredValues(shownServer(server), server, missing)).toEqual(server)
  expect(withStoredValues({ args: ['***', 'c', '***'] }, { args: ['a', 'b', 'c'] }, missing)).toEqual({
    args: ['a', 'c', 'c'],
  })
  expect(() => withStoredValues({ args: ['a', '***'] }, { args: ['a'] }, missing)).toThrow('args.1: *** stands for')
  expect(() => withStoredValues({ url: 'https://b.example/***' }, { url: 'https://a.example/s' }, missing)).toThrow(
    'url.path: *** stands for a value of another server',
  )
})

test('finds every value, and changes nothing else', () => {
  const server = { args: ['a'], env: { B: 'b' }, headers: { c: 'c' }, url: 'https://a.example/d?e=f&g#h' }
  const found: string[] = []
  mapValues(server, (value, field, name) => {
    found.push(`${field}.${name}=${value}`)
    return value
  })
  expect(found.sort()).toEqual([
    'args.0=a',
    'env.B=b',
    'headers.c=c',
    'url.fragment=h',
    'url.path=d',
    'url.query.=g',
    'url.query.e=f',
  ])
  expect(mapValues(server, (value) => value)).toEqual(server)
})

test('takes long steps of a path and long values of a query for secrets', () => {
  const url = `https://a.example/mcp/0123456789abcdef/${'s'.repeat(20)}?mode=short&key=fedcba9876543210`
  expect(secretsInUrl(url)).toEqual(['0123456789abcdef', 's'.repeat(20), 'fedcba9876543210'])
})
