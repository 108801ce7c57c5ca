import { expect, test } from 'vitest'
import { createRedactor, REDACTED } from './redaction.ts'

const value = 'tök3n/with+"quotes" & $pace=42'
const redactor = createRedactor([
  value,
  'short',
  '-----BEGIN KEY-----\nAAAAbbbbCCCC1111\nDDDDeeee2222\n-----END KEY-----\n',
])

const base64 = (text: string) => Buffer.from(text).toString('base64')

test.each([
  ['as it is', value],
  ['in JSON', JSON.stringify({ a: value })],
  ['in JSON within JSON', JSON.stringify({ a: JSON.stringify({ b: value }) })],
  ['in a URL', `https://x.example/?a=${encodeURIComponent(value)}&b=1`],
  ['in a form', new URLSearchParams({ a: value }).toString()],
  ['in a shell word', `'${value.replaceAll("'", `'\\''`)}'`],
  ['in base64', base64(value)],
  ['in base64 after one byte', base64(`x${value}`)],
  ['in base64 after two bytes', base64(`xy${value}!`)],
  ['in base64url', Buffer.from(value).toString('base64url')],
  ['in hexadecimal', Buffer.from(value).toString('hex')],
  ['in large hexadecimal', Buffer.from(value).toString('hex').toUpperCase()],
])('a value is found %s', (_, text) => {
  const clean = redactor.text(`before ${text} after`)
  expect(clean).toContain(REDACTED)
  expect(clean).toMatch(/^before /)
  expect(clean).toMatch(/ after$/)
  for (const part of ['tök3n', 'pace=42', 'quotes']) {
    expect(clean).not.toContain(part)
    expect(clean).not.toContain(base64(part).slice(0, 6))
  }
})

test('of a word of base64 nothing stays that has a bit of the value, wherever it begins and ends', () => {
  for (const secret of ['s3cret', 's3cretA', 's3cretAB', 'a-longer-secret-~~??>>', 'a-longer-secret-~~??>>1']) {
    const hides = createRedactor([secret])
    for (const before of ['', 'x', 'xy', 'xyz']) {
      for (const after of ['', '\n', '!!', '???']) {
        const first = Math.floor((before.length * 8) / 6)
        const last = Math.ceil(((before.length + secret.length) * 8) / 6)
        for (const encoding of ['base64', 'base64url'] as const) {
          const word = Buffer.from(before + secret + after).toString(encoding)
          const rest = word.slice(last).replace(/^=+$/, '')
          for (const [one, other] of [
            ['', ''],
            ['"', '"'],
            ['see ', ' there'],
          ])
            expect(hides.text(one + word + other)).toBe(`${one}${word.slice(0, first)}***${rest}${other}`)
        }
      }
    }
  }
})

test('base64 that is broken into lines is found in each of them, up to its last letter', () => {
  const secret = 'a-secret-that-takes-more-than-one-line'
  const hides = createRedactor([secret])
  const word = base64(secret)
  for (const at of word.split('').keys()) {
    for (const line of ['\n', '\r\n']) {
      const clean = hides.text(`say ${word.slice(0, at)}${line}${word.slice(at)}${line}done`)
      expect(clean.replace(/[\s=]+/g, ' ')).toBe('say *** done')
    }
  }
})

test('base64 that is broken into many lines is found in each of them', () => {
  const long = 'a-very-long-secret-value-that-takes-several-lines-of-base64-when-it-is-wrapped-by-a-program'
  const lines = base64(`lead ${long} tail`).match(/.{1,40}/g) ?? []
  const clean = createRedactor([long]).text(lines.join('\n'))
  for (const line of lines.slice(1, -1)) expect(clean).not.toContain(line)
})

test('each line of a value of several lines is found by itself', () => {
  expect(redactor.text('AAAAbbbbCCCC1111')).toBe(REDACTED)
})

test('other text stays as it is, and values that are too short with it', () => {
  const text = 'a short story of tokens and quotes'
  expect(redactor.text(text)).toBe(text)
  const data = { a: [text, 1, null], b: { c: text } }
  expect(redactor.value(data)).toBe(data)
})

test('names of fields are looked at as well', () => {
  expect(redactor.value({ [value]: 1 })).toEqual({ [REDACTED]: 1 })
})

test('values that overlap are hidden both', () => {
  expect(createRedactor(['abcdefgh', 'efghijkl']).text('abcdefghijkl')).toBe(REDACTED)
})

test('a credential of a run is known by its form', () => {
  expect(createRedactor([]).text(`key amb_${'x'.repeat(43)}!`)).toBe(`key ${REDACTED}!`)
})

test('a megabyte with a thousand values is looked at within a second or two', () => {
  const values = Array.from({ length: 1_000 }, (_, index) => `value-${index}-${'k'.repeat(index % 60)}${index * 7}`)
  const many = createRedactor([...values, 'a'.repeat(50_000)])
  const text = `${'value-1 lorem ipsum dolor kkkkkkkkkkkkkk '.repeat(12_500)}${'a'.repeat(500_000)}${values[999]}`
  const begun = performance.now()
  const clean = many.text(text)
  expect(performance.now() - begun).toBeLessThan(3_000)
  expect(clean).not.toContain(values[999])
  expect(clean).not.toContain('aaaaaaaaaaaaaaa')
})

test('thousands of values that begin alike cost no more, and the longest that stands there is hidden', () => {
  const lines = Array.from({ length: 3_000 }, (_, index) => `AAAAAA${index}`)
  const alike = createRedactor([lines.join('\n'), 'AAAAAA12-and-more'])
  const begun = performance.now()
  expect(alike.text(`${'A'.repeat(50_000)} AAAAAA12-and-more`)).toBe(`${'A'.repeat(50_000)} ${REDACTED}`)
  expect(performance.now() - begun).toBeLessThan(1_000)
  expect(alike.text('AAAAAA12-and-less')).toBe(`${REDACTED}-and-less`)
  expect(alike.opens('say AAAAAA12-and')).toBe(4)
})

test('where a text ends in what may be the beginning of a value, it says from where', () => {
  const spaced = createRedactor(['two words here'])
  expect(spaced.opens('say two wor')).toBe(4)
  expect(spaced.opens('done. ')).toBe(6)
  expect(createRedactor([]).opens('the word am')).toBe(9)
  expect(createRedactor([]).opens('the word')).toBe(8)
})
