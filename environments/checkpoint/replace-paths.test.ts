import { expect, test } from 'vitest'
import { replacePaths } from './replace-paths.ts'

const from = '/data/runs/0b1c/workspace'
const to = '/srv/r/workspace'

/** As it comes from a file: in pieces that end anywhere. */
async function replaced(text: string, size: number, moved = [{ from, to }]): Promise<string> {
  const bytes = Buffer.from(text)
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }
  const parts: Buffer[] = []
  for await (const part of replacePaths(pieces(), moved)) parts.push(part)
  return Buffer.concat(parts).toString()
}

test.each([1, 7, 1000])('every mention of a directory is replaced, in pieces of %i bytes', async (size) => {
  const text = `{"cwd":"${from}","said":"é\\n${from}/src/a.ts\\n"} ${from}`
  expect(await replaced(text, size)).toBe(`{"cwd":"${to}","said":"é\\n${to}/src/a.ts\\n"} ${to}`)
})

test('directories whose names only begin or end alike are left alone', async () => {
  const moved = [{ from: '/workspace', to: '/elsewhere' }]
  const text = '/workspaces /workspace-2 /my/workspace /workspace.bak /workspace/x "/workspace"'
  expect(await replaced(text, 5, moved)).toBe(
    '/workspaces /workspace-2 /my/workspace /workspace.bak /elsewhere/x "/elsewhere"',
  )
})

test('a path with quotes is found as JSON has it, and bytes that are no text stay', async () => {
  const moved = [{ from: '/a "b"', to: '/c\\d' }]
  expect(await replaced(JSON.stringify({ cwd: '/a "b"' }), 3, moved)).toBe(JSON.stringify({ cwd: '/c\\d' }))
  async function* odd() {
    yield Buffer.from([0xff, 0x00, 0xc3])
  }
  for await (const part of replacePaths(odd(), [{ from, to }]))
    if (part.length) expect([...part]).toEqual([0xff, 0, 0xc3])
})
