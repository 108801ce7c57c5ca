import { expect, test } from 'vitest'
import {
  isReference,
  managedServer,
  mapValues,
  secretsInArgs,
  secretsInUrl,
  shownServer,
  withStoredValues,
} from './values.ts'

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

test('takes long values of a query for secrets, and steps of a path that look made by a machine', () => {
  const url = `https://a.example/customer-dashboards-2024/0123456789abcdef/mcp?mode=short&key=${'s'.repeat(20)}`
  expect(secretsInUrl(url)).toEqual(['0123456789abcdef', 's'.repeat(20)])
})

test('of arguments it takes what options are given that are named for it, and what looks made', () => {
  const uuid = '3f0c1f4e-9a53-4b7e-8f55-0a2f2a0b6c11'
  const args = ['-y', '@smithery-ai/server-sequential-thinking', '--api-key=correct horse', '--token', 'battery-staple']
  expect(secretsInArgs([...args, '--header', 'X-Id: sk-a1b2c3d4e5f6g7', uuid, '--key', '--x'])).toEqual([
    'correct horse',
    'battery-staple',
    'sk-a1b2c3d4e5f6g7',
    uuid,
  ])
})
