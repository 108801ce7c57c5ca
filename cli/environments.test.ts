// The commands on stored environments, against a real server; what its hosts would do, the test does.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openEnvironment } from '../secrets/vault/inline.ts'
import { recordBuild } from '../store/builds/builds.ts'
import { HOST, startTestApi, type TestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { ambient, command } from './testing/command.ts'

let postgres: TestPostgres
let api: TestApi
let directory: string
beforeAll(async () => {
  postgres = await startTestPostgres()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl() })
  directory = await mkdtemp(join(tmpdir(), 'ambient-cli-'))
  await api.host('PUT', `/hosts/${HOST.id}`, { pool: 'default', kind: 'direct', version: '1', capacity: 2, in_use: 0 })
})
afterAll(async () => {
  await api?.close()
  await postgres.stop()
  await rm(directory, { recursive: true, force: true })
})

const options = () => ({ url: api.url, env: { AMBIENT_API_KEY: api.key } })
const cli = (...args: string[]) => ambient(['environments', ...args], options())
const shown = async (name: string) =>
  (await api.call('GET', '/agent/environments')).body.environments.find(
    (each: { config: { name: string } }) => each.config.name === name,
  )

test('an environment is stored, changed and run in by its name, and deleted', async () => {
  const repo = 'https://example.com/team/web.git'
  const made = await cli('create', 'web', '-r', `${repo}#main`, '-s', 'npm ci', '-e', 'A=1', '--run-limit', '2')
  expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^web is stored: \w{22}\n$/) })
  expect(made.stderr).toContain('--follow')

  const changed = await cli('update', 'web', '-e', 'B=2', '--no-prepare', '--run-limit', '0', '--description', 'Site')
  expect(changed.code).toBe(0)
  const { uid, config } = await shown('web')
  expect(config).toMatchObject({
    repos: [{ url: repo, ref: 'main' }],
    setup_commands: ['npm ci'],
    description: 'Site',
    prepare: false,
    run_limit: null,
  })
  const row = await api.db.selectFrom('environments').select('config').where('id', '=', uid).executeTakeFirstOrThrow()
  expect(openEnvironment(api.vault, row.config).env).toEqual({ A: '1', B: '2' })

  const run = await ambient(['run', 'x', '--environment', 'web', '--detach'], options())
  const { agent_config } = (await api.call('GET', `/agent/runs/${run.stdout.trim()}`)).body
  expect(agent_config.environment_id).toBe(uid)
  expect((await ambient(['runs', '--environment', 'web'], options())).stdout).toContain(run.stdout.slice(0, 8))
  expect(await ambient(['run', 'x', '--environment', 'web', '--image', 'y'], options())).toMatchObject({ code: 2 })
  expect(await ambient(['run', 'x', '--environment', 'wbe'], options())).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('Did you mean web?'),
  })

  expect((await cli()).stdout).toMatch(new RegExp(`^NAME .*\\nweb +${uid} +0 +not built ahead +never\\n$`))
  expect((await cli('delete', 'web')).stdout).toBe('web is deleted.\n')
  expect(await shown('web')).toBeUndefined()
})

test('an environment comes from a file', async () => {
  const file = join(directory, 'environment.json')
  await writeFile(file, JSON.stringify({ name: 'api', setup_commands: ['make'], prepare: false, runlimit: 1 }))
  const made = await cli('create', '--file', file)
  expect(made.stderr).toContain('! runlimit is not known here')
  expect((await shown('api')).config.setup_commands).toEqual(['make'])
})

test('a build is watched to its end, and its failure says the command and the exit code', async () => {
  await api.call('POST', '/agent/environments', { name: 'built', setup_commands: ['npm ci'] })
  const { builds } = await shown('built')
  const id = builds[0].build_id
  const watching = command(['environments', 'log', 'built', '--follow'], options())
  await api.host('POST', `/builds/${id}/log`, { source: 'setup', lines: [{ line: 1, text: 'npm says no' }] })
  await watching.output(/npm says no/)
  const failure = {
    code: 'setup_command_failed',
    phase: 'setup',
    message: 'It failed.',
    command: 'npm ci',
    exitCode: 7,
  } as const
  await recordBuild(api.db, { buildId: id, end: { kind: 'failed', failure } })
  expect(await watching.finished).toMatchObject({
    code: 1,
    stdout: 'npm says no\nFAILED  It failed.\n  npm ci\n  exit code 7\n',
  })
  expect((await cli('build', 'built', '--force')).code).toBe(0)
  expect((await cli('builds', 'built')).stdout).toMatch(/QUEUED +manual[\s\S]*FAILED +changed[\s\S]*It failed\./)
  expect((await cli('cancel', 'built')).stdout).toMatch(/ on machine-1 is being cancelled\.\n$/)
})

test('what a profile or a rule has of an option is taken back by its name, and no secrets are not all of them', async () => {
  const run = (...args: string[]) => ambient(args, options())
  const profile = async () =>
    (await api.call('GET', '/agent/profiles')).body.profiles.find(({ name }: { name: string }) => name === 'taken')
  await api.call('POST', '/agent/secrets', { name: 'TOKEN', value: 'value-of-the-token' })
  await api.call('POST', '/agent/mcp-servers', { name: 'tickets', url: 'https://mcp.example.com' })
  const given = ['--secret', 'TOKEN', '--skill', 'deploy', '--mcp', 'tickets', '--model', 'm']
  expect((await run('profiles', 'create', 'taken', ...given)).code).toBe(0)
  const { config } = await profile()
  expect(Object.keys(config).sort()).toEqual(['harness', 'mcp_servers', 'secrets', 'skills'])
  const cleared = await run('profiles', 'update', 'taken', '--clear', 'mcp', '--clear', 'skill', '--no-secrets')
  expect(cleared.code).toBe(0)
  expect((await profile()).config).toEqual({ harness: config.harness, secrets: [] })
  expect((await run('profiles', 'update', 'taken', '--clear', 'secret')).code).toBe(0)
  expect((await profile()).config).toEqual({ harness: config.harness })
  const both = await run('profiles', 'update', 'taken', '--clear', 'skill', '--skill', 'a')
  expect(both).toMatchObject({ code: 2, stderr: expect.stringContaining('cannot be given together') })

  await run('rules', 'create', 'narrow', '--text', 'x', '--repo', 'you/*')
  expect((await run('rules', 'update', 'narrow', '--clear', 'repo')).code).toBe(0)
  expect((await api.call('GET', '/agent/rules')).body.rules).toMatchObject([{ repositories: [] }])
})
