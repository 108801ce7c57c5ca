import { randomUUID } from 'node:crypto'
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import { writeHomeFiles } from './inside-directory.ts'
import { createJobDirectory, jobPaths, readBounded, readMark } from './job-directory.ts'
import { openRegular, UntrustedFileError } from './no-links.ts'
import {
  claims,
  createRunDirectory,
  exists,
  listRunDirectories,
  type RunPaths,
  readState,
  removeRunDirectory,
  runPaths,
  writeState,
} from './run-directory.ts'

const owner =
  process.getuid?.() === 0 ? { uid: 1000, gid: 1000 } : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }

let directory: string
let runId: string
let paths: RunPaths

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-runs-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))
beforeEach(async () => {
  runId = randomUUID()
  paths = await createRunDirectory(directory, runId, owner)
})

test('a directory is made once, listed and removed whole, read-only parts included', async () => {
  await writeFile(join(paths.workspace, 'file'), 'kept')
  expect(await createRunDirectory(directory, runId, owner)).toEqual(paths)
  expect(await readFile(join(paths.workspace, 'file'), 'utf8')).toBe('kept')
  expect((await stat(paths.workspace)).uid).toBe(owner.uid)
  expect((await stat(paths.root)).mode & 0o777).toBe(0o700)
  await mkdir(join(directory, 'not-a-run'), { recursive: true })
  expect(await listRunDirectories(directory)).toContain(runId)
  expect(await listRunDirectories(directory)).not.toContain('not-a-run')
  await mkdir(join(paths.home, 'cache/deep'), { recursive: true })
  await writeFile(join(paths.home, 'cache/deep/file'), '')
  await chmod(join(paths.home, 'cache/deep'), 0o500)
  await removeRunDirectory(directory, runId)
  await removeRunDirectory(directory, runId)
  expect(exists(paths.root)).toBe(false)
})

test('an id that is not one never becomes a path', () => {
  expect(() => runPaths(directory, '../etc')).toThrow()
})

test('of many callers of a claim one makes it, and all see its note', async () => {
  const id = 'prompt:a/b.c é'
  const made = await Promise.all([1, 2, 3, 4, 5].map((afterLine) => claims(paths).make(id, { afterLine })))
  expect(made.filter(({ isNew }) => isNew)).toHaveLength(1)
  const [winner] = made.filter(({ isNew }) => isNew)
  for (const { note, settled } of made) expect({ note, settled }).toEqual({ note: winner?.note, settled: false })
})

test('a settled claim stays settled, and says nothing of others', async () => {
  const one = claims(paths)
  await one.make('a', { afterLine: 7 })
  await one.settle('a')
  await one.settle('a')
  expect(await claims(paths).make('a', { afterLine: 9 })).toEqual({
    isNew: false,
    settled: true,
    note: { afterLine: 7 },
  })
  // Neither a claim named like the mark of another one, nor one too long for a file name.
  expect(await one.make('a.settled', { afterLine: 1 })).toMatchObject({ isNew: true })
  const long = 'x'.repeat(400)
  expect(await one.make(`${long}1`, { afterLine: 1 })).toMatchObject({ isNew: true })
  expect(await one.make(`${long}2`, { afterLine: 2 })).toMatchObject({ isNew: true })
  expect(await readdir(paths.claims)).not.toContainEqual(expect.stringContaining('draft'))
})

test('state is read as it was written, checked both ways', async () => {
  const schema = z.object({ generation: z.number().int() })
  expect(readState(paths, schema)).toBeNull()
  await writeState(paths, schema, { generation: 1 })
  await writeState(paths, schema, { generation: 2 })
  expect(readState(paths, schema)).toEqual({ generation: 2 })
  await expect(writeState(paths, schema, { generation: 0.5 })).rejects.toThrow()
  expect(() => readState(paths, z.object({ other: z.string() }))).toThrow()
})

test('files are put into the home, replaced, and owned by its user', async () => {
  await writeHomeFiles(paths, [{ path: '.tool/deep/settings.json', content: 'old' }], owner)
  await writeHomeFiles(
    paths,
    [
      { path: '.tool/deep/settings.json', content: 'new' },
      { path: 'plain', content: 'x' },
    ],
    owner,
  )
  const file = join(paths.home, '.tool/deep/settings.json')
  expect(await readFile(file, 'utf8')).toBe('new')
  expect(await readFile(join(paths.home, 'plain'), 'utf8')).toBe('x')
  for (const path of [file, join(paths.home, '.tool')]) expect((await stat(path)).uid).toBe(owner.uid)
})

test.runIf(process.getuid?.() === 0)(
  'a directory whose maker was killed before it was given away is its user’s all the same',
  async () => {
    const user = { uid: 1000, gid: 1000 }
    await mkdir(join(paths.home, '.tool'))
    await writeHomeFiles(paths, [{ path: '.tool/settings.json', content: 'x' }], user)
    expect((await stat(join(paths.home, '.tool'))).uid).toBe(user.uid)
  },
)

test('a link that an agent left in the home leads nowhere', async () => {
  const outside = join(directory, `outside-${runId}`)
  await mkdir(outside)
  await writeFile(join(outside, 'file'), 'untouched')
  await symlink(outside, join(paths.home, '.tool'))
  await symlink(join(outside, 'file'), join(paths.home, 'plain'))
  await expect(writeHomeFiles(paths, [{ path: '.tool/settings.json', content: 'x' }], owner)).rejects.toThrow()
  await expect(writeHomeFiles(paths, [{ path: '../x', content: 'x' }], owner)).rejects.toThrow('not a path')
  await writeHomeFiles(paths, [{ path: 'plain', content: 'x' }], owner)
  expect(await readdir(outside)).toEqual(['file'])
  expect(await readFile(join(outside, 'file'), 'utf8')).toBe('untouched')
})

test('only regular files are opened, and only up to their limit', async () => {
  const at = (name: string) => join(paths.workspace, name)
  await writeFile(at('file'), '12345')
  await symlink(at('file'), at('link'))
  await mkdir(at('directory'))
  await symlink(paths.workspace, join(paths.home, 'linked'))
  expect(await readBounded(at('file'), 5)).toEqual(Buffer.from('12345'))
  expect(await readBounded(at('file'), 4)).toBe('too large')
  expect(await readBounded(at('missing'), 4)).toBeNull()
  for (const path of [at('link'), at('directory'), '/dev/null', join(paths.home, 'linked/file')]) {
    await expect(openRegular(path)).rejects.toThrow(UntrustedFileError)
  }
})

test('a link that the sandbox has put in place of a job leads nowhere', async () => {
  const { jobs } = paths
  const elsewhere = join(directory, 'elsewhere')
  await mkdir(join(elsewhere, 'own'), { recursive: true })
  await writeFile(join(elsewhere, 'own', 'started'), 'not a mark\n')
  await writeFile(join(elsewhere, 'output'), 'secret')
  await symlink(elsewhere, join(jobs, 'job'))
  const job = jobPaths(paths, 'job')
  expect(() => createJobDirectory(job, 'stdin', owner)).toThrow(UntrustedFileError)
  await expect(openRegular(job.output)).rejects.toThrow(UntrustedFileError)
  expect(readMark(job.own, 'started')).toBeNull()
  expect((await readdir(elsewhere)).sort()).toEqual(['output', 'own'])
})

test("files that the other kind of host has left become the owner's, links themselves and not what they lead to", async (context) => {
  if (process.getuid?.() !== 0) context.skip('only root can give files away')
  const outside = join(directory, 'outside')
  await writeFile(outside, '')
  await mkdir(join(paths.workspace, 'project'))
  await writeFile(join(paths.workspace, 'project', 'file'), '')
  await symlink(outside, join(paths.workspace, 'link'))
  const other = { uid: 4321, gid: 4321 }
  await createRunDirectory(directory, runId, other)
  const uid = async (path: string) => (await lstat(path)).uid
  for (const name of ['.', 'project', 'project/file', 'link']) expect(await uid(join(paths.workspace, name))).toBe(4321)
  expect(await uid(outside)).toBe(0)
})
