import { mkdir, mkdtemp, readdir, rm, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { codex } from './codex.ts'
import { toolkitPath } from './install.ts'
import { removeOldAgents } from './upkeep.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'upkeep-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function program(name: string, hoursAgo: number): Promise<string> {
  const path = join(directory, name)
  await mkdir(join(path, 'node_modules'), { recursive: true })
  const time = new Date(Date.now() - hoursAgo * 60 * 60_000)
  await utimes(path, time, time)
  return path
}

test('programs at former versions go when nobody has used them for a day, and nobody does now', async () => {
  const current = toolkitPath(codex, directory).slice(directory.length + 1)
  await program(current, 1_000)
  const old = await program('codex-1.0.0', 25)
  const atWork = await program('claude-1.0.0', 25)
  await program('gemini-1.0.0', 1)
  await program('something-else', 1_000)
  await program('.staging-codex-killed', 25)
  expect(await removeOldAgents(directory, async () => new Set([atWork]))).toEqual([old])
  expect((await readdir(directory)).sort()).toEqual([current, 'claude-1.0.0', 'gemini-1.0.0', 'something-else'].sort())
})

test('where nothing was ever installed there is nothing to remove', async () => {
  expect(await removeOldAgents(join(directory, 'none'), async () => new Set())).toEqual([])
})
