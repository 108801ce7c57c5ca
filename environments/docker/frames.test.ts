import { expect, test } from 'vitest'
import { FrameReader, STDERR, STDOUT } from './frames.ts'

function frame(stream: number, body: string): Buffer {
  const head = Buffer.alloc(8)
  head[0] = stream
  head.writeUInt32BE(Buffer.byteLength(body), 4)
  return Buffer.concat([head, Buffer.from(body)])
}

const bytes = Buffer.concat([frame(1, 'one'), frame(2, 'two'), frame(1, ''), frame(1, 'three\n'), frame(2, 'four')])

test.each([1, 3, 8, 9, 1000])('takes the frames of one stream out of pieces of %i bytes', (size) => {
  for (const [stream, expected] of [
    [STDOUT, 'onethree\n'],
    [STDERR, 'twofour'],
  ] as const) {
    const reader = new FrameReader(stream)
    const bodies: Buffer[] = []
    for (let at = 0; at < bytes.length; at += size) bodies.push(...reader.push(bytes.subarray(at, at + size)))
    expect(Buffer.concat(bodies).toString()).toBe(expected)
  }
})
