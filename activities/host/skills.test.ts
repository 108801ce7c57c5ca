import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { agents } from '../../agents/index.ts'
import type { PinnedSkill } from '../../domain/configuration/skill.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import type { Host, Sandbox } from '../../environments/host.ts'
import { createRunDirectory } from '../../environments/run-directory.ts'
import { executionOrder } from '../../test/support/execution-order.ts'
import { type HostDeps, openRunState } from './deps.ts'
import type { Execution } from './execution.ts'
import type { HostServer } from './server.ts'
import { placeSkills, skillInstructions } from './skills.ts'

const never = new AbortController().signal
const url = 'https://github.com/you/app'
const skill = (name: string, fields: Partial<PinnedSkill> = {}): PinnedSkill => ({
  name,
  description: `For ${name}.`,
  owner: 'you',
  repo: 'app',
  url,
  path: `.claude/skills/${name}/SKILL.md`,
  revision: 'a1',
  content: 'hash',
  ...fields,
})
const textOf = ({ name }: PinnedSkill) => `---\nname: ${name}\ndescription: x\n---\nWhat ${name} says.\n`
const files = [{ path: 'bin/go', executable: true, content: Buffer.from([0, 255, 10]).toString('base64') }]

let directory: string
let host: Host
let runId: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-run-skills-'))
  const log = pino({ level: 'silent' })
  host = await createDirectHost({ runsDirectory: directory, nodePath: process.execPath, log, path: process.env.PATH })
  runId = randomUUID()
  await createRunDirectory(directory, runId, host.owner)
})
afterEach(() => rm(directory, { recursive: true, force: true }))

/** A run whose workspace has the repository at this commit. */
async function execution(cloned: string, ...skills: PinnedSkill[]): Promise<Execution> {
  const server = {
    skills: async (_runId, { withFiles }) =>
      skills.map((each) => ({ text: textOf(each), files: withFiles ? files : [] })),
  } as Partial<HostServer> as HostServer
  const state = openRunState(directory, runId)
  await state.set({ cloned: { app: cloned } })
  return {
    deps: { host, server } as Partial<HostDeps> as HostDeps,
    ref: { runId, execution: 1 },
    order: executionOrder({
      ...{ run_id: runId, agent: 'claude', command: null },
      environment: { repos: [{ url: 'https://token@github.com/you/app' }] },
      skills,
    }),
    agent: agents.claude,
    state,
    stop: never,
  } as Partial<Execution> as Execution
}

const sandbox = () => ({ owner: host.owner }) as Sandbox

test('the skill of the repository that the workspace has at its commit is where it is', async () => {
  const run = await execution('a1', skill('deploy'))
  await placeSkills(run, sandbox())
  const said = await skillInstructions(run)
  expect(said).toContain(`${host.paths(runId, null).workspace}/app/.claude/skills/deploy`)
  expect(said?.split('What deploy says.')).toHaveLength(2)
  expect(said).not.toContain('description: x')
  await expect(stat(join(run.state.paths.home, '.ambient'))).rejects.toThrow('ENOENT')
})

test('one of another commit, or of another repository, lies in the home, whole', async () => {
  const other = skill('deploy', { url: 'https://github.com/me/tools', owner: 'me', repo: 'tools' })
  const run = await execution('a2', skill('deploy'), other)
  await placeSkills(run, sandbox())
  // A second attempt finds it there.
  await placeSkills(run, sandbox())
  const { home } = host.paths(runId, null)
  const said = await skillInstructions(run)
  expect(said).toContain(`${home}/.ambient/skills/deploy:`)
  expect(said).toContain(`- deploy: For deploy. (${home}/.ambient/skills/deploy-2/SKILL.md)`)
  const own = join(run.state.paths.home, '.ambient', 'skills', 'deploy')
  expect(await readFile(join(own, 'SKILL.md'), 'utf8')).toBe(textOf(other))
  expect(await readFile(join(own, 'bin', 'go'))).toEqual(Buffer.from([0, 255, 10]))
  expect((await stat(join(own, 'bin', 'go'))).mode & 0o111).toBe(0o111)
  expect((await stat(join(own, 'SKILL.md'))).mode & 0o111).toBe(0)
})

test('a run without skills is told nothing', async () => {
  expect(await skillInstructions(await execution('a1'))).toBeNull()
})

test('further ones are told of where the agent does not find them by itself, and else lie where it does', async () => {
  const found = skill('found', { revision: 'older' })
  const odd = skill('Odd name', { revision: 'older' })
  const elsewhere = skill('elsewhere', { path: '.warp/skills/elsewhere/SKILL.md' })
  const run = await execution('a1', skill('deploy'), skill('beside'), found, odd, elsewhere)
  await placeSkills(run, sandbox())
  const said = (await skillInstructions(run)) ?? ''
  const { home, workspace } = host.paths(runId, null)
  expect(said.split('\n').filter((line) => line.startsWith('- '))).toEqual([
    `- Odd name: For Odd name. (${home}/.ambient/skills/Odd-name/SKILL.md)`,
    `- elsewhere: For elsewhere. (${workspace}/app/.warp/skills/elsewhere/SKILL.md)`,
  ])
  expect(await readFile(join(run.state.paths.home, '.claude', 'skills', 'found', 'SKILL.md'), 'utf8')).toBe(
    textOf(found),
  )
})
