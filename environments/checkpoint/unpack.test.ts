import { createWriteStream, existsSync } from 'node:fs'
import { lstat, mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ArchiveTooLargeError, readArchive, writeArchive } from './archive.ts'
import { createUnpacker, UnsafeEntryError } from './unpack.ts'

const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
const signal = () => AbortSignal.timeout(10_000)

let directory: string
let root: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-unpack-'))
  root = join(directory, 'root')
  await mkdir(root)
})
afterEach(() => rm(directory, { recursive: true, force: true }))

type Entry = Parameters<ReturnType<typeof pack>['entry']>[0] & { content?: string }

/** An archive as nobody of ours would write it. */
async function archived(...entries: Entry[]): Promise<string> {
  const tar = pack()
  for (const { content = '', ...header } of entries) tar.entry(header, content)
  tar.finalize()
  const file = join(directory, 'archive')
  await pipeline(tar, createGzip(), createWriteStream(file))
  return file
}

async function unpack(file: string): Promise<void> {
  const unpacker = createUnpacker({ root, owner })
  for await (const entry of readArchive(file, signal())) await unpacker.put(entry.name, entry)
  await unpacker.finish()
}

describe('an archive that wants out', () => {
  test.each([
    ['above', { name: '../escaped', content: 'x' }],
    ['above, from below', { name: 'a/../../escaped', content: 'x' }],
    ['an absolute path', { name: '/escaped', content: 'x' }],
    ['a link above', { name: '../escaped', type: 'symlink', linkname: '/' }],
    ['a directory above', { name: '../escaped', type: 'directory' }],
    ['a hard link', { name: 'mine', type: 'link', linkname: '../escaped' }],
    ['a device', { name: 'disk', type: 'block-device', devmajor: 8, devminor: 0 }],
    ['a pipe', { name: 'pipe', type: 'fifo' }],
  ] satisfies [string, Entry][])('is refused: %s', async (_, entry) => {
    await writeFile(join(directory, 'escaped.txt'), 'before')
    await expect(unpack(await archived(entry))).rejects.toThrow(UnsafeEntryError)
    expect(existsSync(join(directory, 'escaped'))).toBe(false)
    expect(existsSync('/escaped')).toBe(false)
  })

  test('is refused when it goes through a link of its own, or one that was there', async () => {
    const outside = join(directory, 'outside')
    await mkdir(outside)
    const through = [
      { name: 'link', type: 'symlink', linkname: outside },
      { name: 'link/file', content: 'x' },
    ] satisfies Entry[]
    await expect(unpack(await archived(...through))).rejects.toThrow(UnsafeEntryError)
    await symlink(outside, join(root, 'there'))
    await expect(unpack(await archived({ name: 'there/deep/file', content: 'x' }))).rejects.toThrow(UnsafeEntryError)
    await expect(unpack(await archived({ name: 'there', type: 'directory' }))).rejects.toThrow(UnsafeEntryError)
    expect(existsSync(join(outside, 'file')) || existsSync(join(outside, 'deep'))).toBe(false)
  })

  test('replaces a link in its place, and not what that points to', async () => {
    const outside = join(directory, 'outside')
    await writeFile(outside, 'of the host')
    await symlink(outside, join(root, 'file'))
    await unpack(await archived({ name: 'file', content: 'unpacked', mode: 0o6755 }))
    expect(await readFile(outside, 'utf8')).toBe('of the host')
    expect(await readFile(join(root, 'file'), 'utf8')).toBe('unpacked')
    expect((await lstat(join(root, 'file'))).mode & 0o7777).toBe(0o755)
  })
})

test('files, links and directories of any name come back, the ones closed to writing too', async () => {
  const from = join(directory, 'from')
  const long = `${'long/'.repeat(60)}name with a newline\nand é`
  await mkdir(join(from, 'closed', long.slice(0, long.lastIndexOf('/'))), { recursive: true })
  await writeFile(join(from, 'closed', long), 'content', { mode: 0o444 })
  await mkdir(join(from, 'closed/empty'), { mode: 0o500 })
  await symlink('nowhere at all', join(from, 'closed/link'))
  const file = join(directory, 'archive')
  await writeArchive(file, { maxBytes: 1_000_000, signal: signal() }, (archive) =>
    archive.tree('closed', { root: from, path: 'closed' }, () => {}),
  )
  await unpack(file)
  expect(await readFile(join(root, 'closed', long), 'utf8')).toBe('content')
  expect((await lstat(join(root, 'closed', long))).mode & 0o777).toBe(0o444)
  expect((await lstat(join(root, 'closed/empty'))).mode & 0o777).toBe(0o500)
  expect(await readlink(join(root, 'closed/link'))).toBe('nowhere at all')
})

test('an archive that becomes too large ends there, and many small files count too', async () => {
  const from = join(directory, 'from')
  await mkdir(from)
  for (let index = 0; index < 30; index++) await writeFile(join(from, String(index)), '')
  const write = (maxBytes: number) =>
    writeArchive(join(directory, 'archive'), { maxBytes, signal: signal() }, (archive) =>
      archive.tree('from', { root: from, path: '' }, () => {}),
    )
  await expect(write(10_000)).rejects.toThrow(ArchiveTooLargeError)
  await write(20_000)
})

test('an archive that breaks off is told', async () => {
  const file = await archived({ name: 'one', content: 'x'.repeat(100_000) }, { name: 'two', content: 'y' })
  const whole = await readFile(file)
  await writeFile(file, whole.subarray(0, whole.length - 30))
  await expect(unpack(file)).rejects.toThrow()
})
