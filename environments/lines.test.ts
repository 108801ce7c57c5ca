import { expect, test } from 'vitest'
import { LineSplitter } from './lines.ts'

/** Pushes the bytes in pieces of a size, and collects every line. */
function split(bytes: Buffer, size: number, keep?: number) {
  const splitter = new LineSplitter(keep)
  const lines = []
  for (let at = 0; at < bytes.length; at += size) lines.push(...splitter.push(bytes.subarray(at, at + size)))
  return [...lines, ...splitter.end()]
}

const whole = (text: string) => ({ text, truncatedBytes: 0 })

test.each([1, 2, 3, 5, 1000])('lines are the same in pieces of %i bytes', (size) => {
  const bytes = Buffer.concat([
    Buffer.from('é\n\n\u{1f600}x\r\n'),
    Buffer.from([0xff, 0xf0, 0x9f]),
    Buffer.from('\nlast'),
  ])
  expect(split(bytes, size)).toEqual([
    whole('é'),
    whole(''),
    whole('\u{1f600}x\r'),
    whole('\ufffd\ufffd'),
    whole('last'),
  ])
})

test.each([1, 4, 100])(
  'what does not fit is counted, in pieces of %i bytes, and the next line is whole again',
  (size) => {
    expect(split(Buffer.from('0123456789\nshort\n0123456\n'), size, 6)).toEqual([
      { text: '012345', truncatedBytes: 4 },
      whole('short'),
      { text: '012345', truncatedBytes: 1 },
    ])
  },
)

test('a stream that ends with a newline has no further line', () => {
  expect(split(Buffer.from('a\n'), 10)).toEqual([whole('a')])
  expect(split(Buffer.alloc(0), 10)).toEqual([])
})
