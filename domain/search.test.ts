import { expect, test } from 'vitest'
import { wantedIn, wordsOf } from './search.ts'

const finds = (text: string, query: string): boolean => {
  const words = [...wordsOf(text)]
  return wantedIn(query).every(({ word, isWhole }) =>
    words.some((known) => (isWhole ? known === word : known.startsWith(word))),
  )
}

test.each([
  ['Rewrite the PARSER', 'parser'],
  ['Rewrite the parser', 'the rewr'],
  ['src/billing/invoice_export.test.ts fails', 'invoice'],
  ['src/billing/invoice_export.test.ts fails', 'billing/invoice_export.test.ts'],
  ['call parseHTTPHeader twice', 'header'],
  ['call parseHTTPHeader twice', 'parsehttp'],
  ['Größe der Ärmel', 'größe'],
  ['ﬁle names', 'file'],
  ['修复登录页面的错误', '登录页面'],
  ['修复登录页面的错误', '错误'],
])('%j is found by %j', (text, query) => {
  expect(finds(text, query)).toBe(true)
})

test.each([
  ['Rewrite the parser', 'arser'],
  ['Rewrite the parser', 'pa'],
  ['Rewrite the parser', 'parser tests'],
  ['修复登录页面的错误', '页登'],
])('%j is not found by %j', (text, query) => {
  expect(finds(text, query)).toBe(false)
})

test('of nothing but signs, nothing is looked for', () => {
  expect(wantedIn('% _ …')).toEqual([])
})
