import { expect, test } from 'vitest'
import type { NewEvent } from '../../domain/event.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import { createChunks } from './chunks.ts'
import { createRecorder } from './recorder.ts'

const value = 'planted value of several words'
const said = (line: number, text: string, kind: NewEvent['kind'] = 'message'): NewEvent => ({
  line,
  part: 0,
  time: '2026-01-01T00:00:00.000Z',
  kind,
  data: { text },
})

function recorded(values = [value]) {
  const stored: { readTo: number; texts: unknown[] }[] = []
  const recorder = createRecorder({
    journal: 'j',
    storedLine: 0,
    redactor: createRedactor(values),
    async record(_journal, events, readTo) {
      stored.push({ readTo, texts: events.map(({ data }) => data.text) })
    },
  })
  const texts = () => stored.flatMap((batch) => batch.texts)
  return { recorder, stored, texts }
}

test('a value that comes letter by letter is never stored, and what is around it is', async () => {
  const { recorder, texts } = recorded()
  const whole = `It is ${value}, and more.`
  for (const [index, letter] of [...whole].entries()) recorder.add(index + 1, [said(index + 1, letter)])
  await recorder.flush()
  expect(texts().join('')).toBe('It is ***, and more.')
})

test.each([1, 2, 3, 5, 7, 11])('so is its base64, in pieces of %i letters', async (size) => {
  const { recorder, texts } = recorded()
  const encoded = Buffer.from(`see ${value}!`).toString('base64')
  const pieces = `Here: ${encoded} done`.match(new RegExp(`.{1,${size}}`, 'g')) ?? []
  for (const [index, piece] of pieces.entries()) recorder.add(index + 1, [said(index + 1, piece)])
  await recorder.flush()
  expect(texts().join('')).toMatch(/^Here: .{0,8}\*\*\*.{0,8} done$/)
})

test('what waits is not counted as read, so that whoever comes next reads it again', async () => {
  const { recorder, stored } = recorded()
  recorder.add(1, [said(1, 'First. ')])
  recorder.add(2, [said(2, 'planted val')])
  recorder.add(3, [])
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  expect(stored.at(-1)?.readTo).toBe(1)
  recorder.add(4, [said(4, 'ley')])
  recorder.add(5, [said(5, 'run', 'tool_call')])
  await recorder.flush()
  expect(stored.flatMap((batch) => batch.texts)).toEqual(['First. ', 'planted val', 'ley', 'run'])
  expect(stored.at(-1)?.readTo).toBe(5)
})

test('what an agent thinks is told apart from what it says', async () => {
  const { recorder, texts } = recorded()
  recorder.add(1, [said(1, value.slice(0, 9))])
  recorder.add(2, [said(2, value.slice(9), 'thought')])
  await recorder.flush()
  expect(texts()).toEqual([value.slice(0, 9), value.slice(9)])
})

test('what a value is split over is stored at once, so that nobody who goes on after a crash reads half of it', () => {
  const chunks = createChunks(createRedactor([value]))
  const half = value.length / 2
  const given = [said(1, 'It is '), said(2, value.slice(0, half)), said(3, value.slice(half)), said(4, ', and more. ')]
  const stored = [...given.flatMap((event) => chunks.add({ readTo: event.line, events: [event] })), ...chunks.end()]
  expect(stored.map(({ readTo, events }) => [readTo, ...events.map(({ data }) => data.text)])).toEqual([
    [1, 'It is '],
    [3, '***', ''],
    [4, ', and more. '],
  ])
})
