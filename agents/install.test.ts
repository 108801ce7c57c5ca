import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { RunFailureError } from '../domain/failure.ts'
import type { AcpAgent } from './agent.ts'
import { agents } from './index.ts'
import { findInstalled, installAgent } from './install.ts'

const run = promisify(execFile)

let scratch: string
let directory: string
let tiny: AcpAgent

/** An agent whose package is a file, so that no registry is needed. */
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'install-'))
  directory = join(scratch, 'agents')
  await mkdir(join(scratch, 'tiny'))
  const scripts = { postinstall: 'touch was-run' }
  await writeFile(join(scratch, 'tiny', 'package.json'), JSON.stringify({ name: 'tiny', version: '1.2.3', scripts }))
  await writeFile(join(scratch, 'tiny', 'main.js'), 'tiny')
  await run('npm', ['pack', '--pack-destination', scratch], { cwd: join(scratch, 'tiny') })
  tiny = packaged(`file:${join(scratch, 'tiny-1.2.3.tgz')}`)
})

afterEach(() => rm(scratch, { recursive: true, force: true }))

function packaged(version: string): AcpAgent {
  return {
    protocol: 'acp',
    name: 'codex',
    title: 'Tiny',
    provider: 'openai',
    packages: { tiny: version },
    sessions: { paths: () => [], isText: true },
    skills: { inRepository: [], inHome: '' },
    quirks: { resume: 'none' },
    launch: () => ({ command: [], env: {}, files: [] }),
  }
}

const failureOf = async (installing: Promise<unknown>) => {
  const error = await installing.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (!(error instanceof RunFailureError)) throw error
  return error.failure
}

test('an agent is installed once, without running what its packages bring along', async () => {
  const told: string[] = []
  const options = { directory, onProgress: (text: string) => told.push(text) }
  expect(await findInstalled(tiny, directory)).toBe(null)
  const toolkit = await installAgent(tiny, options)
  expect(await readFile(join(toolkit, 'node_modules', 'tiny', 'main.js'), 'utf8')).toBe('tiny')
  expect(await readdir(join(toolkit, 'node_modules', 'tiny'))).toEqual(['main.js', 'package.json'])
  expect(told[0]).toContain('Installing Tiny')
  expect(told.at(-1)).toBe('Tiny is installed.')

  expect(await installAgent(tiny, { directory, onProgress: () => expect.unreachable() })).toBe(toolkit)
  expect(await findInstalled(tiny, directory)).toBe(toolkit)
  expect(await readdir(directory)).toEqual([toolkit.slice(directory.length + 1)])
})

test('two that install at once end up with the same whole program', async () => {
  const [one, other] = await Promise.all([installAgent(tiny, { directory }), installAgent(tiny, { directory })])
  expect(one).toBe(other)
  expect(await readdir(join(one, 'node_modules', 'tiny'))).toEqual(['main.js', 'package.json'])
  expect((await readdir(directory)).length).toBe(1)
})

test('an install that does not succeed leaves nothing, and says why', async () => {
  const missing = packaged(`file:${join(scratch, 'nowhere.tgz')}`)
  const failure = await failureOf(installAgent(missing, { directory }))
  expect(failure).toMatchObject({ code: 'agent_install_failed', phase: 'agent_start' })
  expect(failure.logTail).toContain('nowhere.tgz')
  expect(failure.nextStep).toContain('ambient agents install codex')
  expect(await findInstalled(missing, directory)).toBe(null)
  expect(await readdir(directory)).toEqual([])
})

test('an install that is no longer wanted ends and leaves nothing', async () => {
  const controller = new AbortController()
  const installing = installAgent(tiny, { directory, signal: controller.signal })
  controller.abort(new Error('not wanted'))
  await expect(installing).rejects.toThrow('not wanted')
  expect(await readdir(directory)).toEqual([])
})

test('what a killed install left is removed, what another one is at work on is not', async () => {
  const [abandoned, current] = ['.staging-codex-old', '.staging-codex-new'].map((name) => join(directory, name))
  for (const path of [abandoned, current]) await mkdir(path as string, { recursive: true })
  const longAgo = new Date(Date.now() - 2 * 60 * 60_000)
  await utimes(abandoned as string, longAgo, longAgo)
  await installAgent(tiny, { directory })
  expect((await readdir(directory)).filter((name) => name.startsWith('.'))).toEqual(['.staging-codex-new'])
})

test('agents are named by exact versions', () => {
  for (const agent of Object.values(agents)) {
    if (agent.protocol !== 'acp') continue
    for (const version of Object.values(agent.packages)) expect(version).toMatch(/^\d+\.\d+\.\d+$/)
  }
})
