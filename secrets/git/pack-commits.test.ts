import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { keepsCommits } from './ancestry.ts'
import { type PackedCommits, readCommits } from './pack-commits.ts'
import { createPeek } from './peek.ts'

const directories: string[] = []
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

/** Commits that say nearly the same, so that git packs them as changes of each other; some of them merges. */
function repository(format: string, count: number) {
  const directory = mkdtempSync(join(tmpdir(), 'ambient-pack-'))
  directories.push(directory)
  const git = (args: string[], input = '') =>
    execFileSync('git', args, { cwd: directory, input, maxBuffer: 64 * 1024 * 1024, stdio: ['pipe', 'pipe', 'ignore'] })
  git(['init', '--quiet', '--bare', `--object-format=${format}`, '.'])
  const words = 'What this changes is said at length, and in the same words each time. '.repeat(20)
  const commits = Array.from({ length: count }, (_, index) => {
    const message = `${index}\n\nparent of nothing\n${words}`
    const merged = index > 3 && index % 7 === 0 ? `merge :${index - 2}\n` : ''
    const content = `M 100644 inline file\ndata ${String(index).length}\n${index}\n`
    return `commit refs/heads/main\nmark :${index + 1}\ncommitter A <a@localhost> ${index} +0000\ndata ${message.length}\n${message}${index === 0 ? '' : `from :${index}\n`}${merged}${content}`
  })
  git(['fast-import', '--quiet'], commits.join('\n'))
  const lines = git(['rev-list', '--parents', 'main']).toString().trim().split('\n')
  const parents = new Map(lines.map((line) => line.split(' ')).map(([id = '', ...before]) => [id, before]))
  return { git, parents }
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

const read = (pack: Buffer, hash: 'sha1' | 'sha256' = 'sha1') => readCommits(createPeek(inPieces(pack, 1_000)), 0, hash)
const asMap = ({ parents }: PackedCommits) => new Map([...parents].sort())

test.each([
  ['sha1', ['--delta-base-offset']],
  ['sha1', []],
  ['sha256', ['--delta-base-offset']],
] as const)(
  'the commits of a pack are read, also those that are told as changes of others: %s %j',
  async (hash, more) => {
    const { git, parents } = repository(hash, 120)
    const pack = git(['pack-objects', '--quiet', '--revs', '--stdout', '--no-reuse-delta', ...more], 'main\n')
    const found = await read(pack, hash)
    expect(found.isWhole).toBe(true)
    expect(asMap(found)).toEqual(new Map([...parents].sort()))
    // The commits are far larger than the pack: they are changes of each other.
    expect(pack.length).toBeLessThan(120 * 1_000)
  },
)

test('what is like the line of a parent, and is none to git, leads nowhere', async () => {
  const { git, parents } = repository('sha1', 3)
  const [tip = ''] = parents.keys()
  const tree = git(['rev-parse', 'main^{tree}']).toString().trim()
  const author = 'A <a@localhost> 1 +0000'
  const contents = [
    `tree ${tree}\nauthor ${author}\ncommitter ${author}\nparent ${tip}\n\nwords\n`,
    `tree ${tree}\nauthor A\rparent ${tip}\r <a@localhost> 1 +0000\ncommitter ${author}\n\nwords\n`,
  ]
  for (const content of contents) {
    const id = git(['hash-object', '-t', 'commit', '-w', '--literally', '--stdin'], content).toString().trim()
    expect(git(['rev-list', '--parents', id]).toString().trim()).toBe(id)
    const pushed = await read(git(['pack-objects', '--quiet', '--stdout'], `${id}\n`))
    expect(asMap(pushed)).toEqual(new Map([[id, []]]))
    const nothing = { parents: new Map(), isWhole: true }
    expect(await keepsCommits({ from: tip, to: id }, pushed, async () => nothing)).toBe(false)
  }
})

test('commits behind other objects are read, as where a pack with a bitmap is taken as it is', async () => {
  const { git, parents } = repository('sha1', 120)
  const old = git(['rev-parse', 'main~100']).toString().trim()
  git(['repack', '-adb', '--quiet'])
  const tree = git(['rev-parse', 'main^{tree}']).toString().trim()
  const author = 'A <a@localhost> 1000 +0000'
  const next = (parent: string) => {
    const content = `tree ${tree}\nparent ${parent}\nauthor ${author}\ncommitter ${author}\n\nnext\n`
    return git(['hash-object', '-t', 'commit', '-w', '--stdin'], content).toString().trim()
  }
  const [before = ''] = parents.keys()
  const tip = next(next(before))
  const wanted = `${tip}\n^${old}\n`
  const pack = git(
    ['pack-objects', '--quiet', '--revs', '--stdout', '--use-bitmap-index', '--delta-base-offset'],
    wanted,
  )
  const expected = git(['rev-list', tip, `^${old}`])
    .toString()
    .trim()
    .split('\n')
    .sort()
  const first = await readCommits(createPeek(inPieces(pack, 1_000)), 0, 'sha1', () => true)
  expect(first.parents.has(tip)).toBe(false)
  expect(first.isWhole).toBe(false)
  const all = await read(pack)
  expect([...all.parents.keys()].sort()).toEqual(expected)
  expect(all.isWhole).toBe(true)
  const nothing = { parents: new Map(), isWhole: true }
  expect(await keepsCommits({ from: old, to: tip }, nothing, async () => all)).toBe(true)
})

test('what is cut off, or is not what it says, tells no more than it has shown, and no server that it keeps anything', async () => {
  const { git, parents } = repository('sha1', 30)
  const pack = git(['pack-objects', '--quiet', '--revs', '--stdout'], 'main\n')
  const cut = await read(pack.subarray(0, 1_500))
  expect(cut.isWhole).toBe(false)
  expect(cut.parents.size).toBeLessThan(30)

  const header = Buffer.from('PACK\0\0\0\x02\0\0\0\x01', 'latin1')
  // A commit of 15 bytes, it says, and of many millions once it is unpacked.
  const bomb = Buffer.concat([header, Buffer.from([0x1f]), deflateSync(Buffer.alloc(64 * 1024 * 1024))])
  expect(await read(bomb)).toEqual({ parents: new Map(), isWhole: false })
  expect(await read(Buffer.from('no pack at all'))).toEqual({ parents: new Map(), isWhole: false })

  const [tip = '', before = ''] = [...parents.keys()]
  const whole = await read(pack)
  const ask = async () => null
  expect(await keepsCommits({ from: before, to: tip }, whole, ask)).toBe(true)
  expect(
    await keepsCommits({ from: tip, to: before }, whole, async () => ({ parents: new Map(), isWhole: true })),
  ).toBe(false)
  expect(await keepsCommits({ from: 'f'.repeat(40), to: tip }, whole, ask)).toBeNull()
})
