import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { secretOf, signature } from './sign.ts'

const page = readFileSync(new URL('../docs/webhooks.md', import.meta.url), 'utf8')
const directory = mkdtempSync(join(tmpdir(), 'ambient-sign-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const secret = secretOf('key', { id: 'a', number: 1 })
const body = '{"title":"Grüße"}'
const now = Math.floor(Date.now() / 1000)

/** Secret, header and body, each with whether they are to be believed. */
const cases = [
  { header: signature(secret, now, body), body, isRight: true },
  { header: signature(secret, now, body), body: `${body} `, isRight: false },
  { header: signature('whsec_other', now, body), body, isRight: false },
  { header: signature(secret, now - 3_600, body), body, isRight: false },
  ...['', 'x', 't=,v1=', `t=${now}`].map((header) => ({ header, body, isRight: false })),
  { header: signature(secret, now, body).replace(`t=${now}`, `t=${now - 1}`), body, isRight: false },
]

function example(language: string, name: string, tail = ''): string {
  const [, code] = new RegExp(`\`\`\`${language}\n(.*?)\n\`\`\``, 's').exec(page) ?? []
  const path = join(directory, name)
  writeFileSync(path, `${code}\n${tail}`)
  return path
}

test('each webhook has a secret of its own, and another one each time that it is renewed', () => {
  const all = [
    secret,
    secretOf('key', { id: 'a', number: 2 }),
    secretOf('key', { id: 'b', number: 1 }),
    secretOf('other', { id: 'a', number: 1 }),
  ]
  expect(new Set(all).size).toBe(4)
})

test('the page’s check in TypeScript believes what is signed here, and nothing else', async () => {
  const { isFromAmbient } = await import(pathToFileURL(example('ts', 'check.ts')).href)
  for (const { header, body, isRight } of cases) expect(isFromAmbient(secret, header, body), header).toBe(isRight)
})

test('so does the one in Python', () => {
  const tail = `
import json, sys
print(json.dumps([is_from_ambient(sys.argv[1], case["header"], case["body"].encode()) for case in json.loads(sys.argv[2])]))
`
  const said = execFileSync('python3', [example('python', 'check.py', tail), secret, JSON.stringify(cases)], {
    encoding: 'utf8',
  })
  expect(JSON.parse(said)).toEqual(cases.map(({ isRight }) => isRight))
})
