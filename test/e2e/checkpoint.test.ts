// A run that loses its host goes on at another one: real agents, two hosts with nothing in common but the server.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm, symlink } from 'node:fs/promises'
import { createServer, type Server, request as send } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkpoint } from '../../activities/host/checkpoint.ts'
import type { HostDeps } from '../../activities/host/deps.ts'
import { openExecution } from '../../activities/host/execution.ts'
import { prepare } from '../../activities/host/prepare.ts'
import { createHostServer, FencedError } from '../../activities/host/server.ts'
import { carryOutTurn } from '../../activities/host/turn.ts'
import type { AgentName } from '../../domain/harness.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import { createDockerHost } from '../../environments/docker/host.ts'
import { insertMail, promptBody } from '../../store/runs/mail.ts'
import { createHostMetrics } from '../../telemetry/host-metrics.ts'
import { HOST, startTestApi, type TestApi } from '../support/api.ts'
import { AGENT_CACHE } from '../support/caches.ts'
import { testGitAccess } from '../support/git-access.ts'
import { type ModelServer, type ScriptStep, script, startModelServer } from '../support/model-server.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { testPrepared } from '../support/prepared.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import { givenRun } from '../support/runs.ts'

const log = pino({ level: 'silent' })

const makers = {
  direct: (common: Common) => createDirectHost(common),
  docker: (common: Common) =>
    createDockerHost({ ...common, image: 'ambient-base:latest', limits: { memoryMb: 2048, cpus: 2, pids: 512 } }),
}
type Common = Parameters<typeof createDirectHost>[0]

// OpenCode's database names the directory it works in: it goes on where that is the same, as in containers.
const cases = [
  ['direct', 'claude'],
  ['direct', 'gemini'],
  ['docker', 'codex'],
  ['docker', 'opencode'],
] as const satisfies [keyof typeof makers, AgentName][]

describe.each(cases)('on the %s host, %s', (kind, agent) => {
  let postgres: TestPostgres
  let api: TestApi
  let model: ModelServer
  let gateway: Server
  let repository: SampleRepository
  let directory: string
  let machines: HostDeps[]
  let runId: string
  let firstMessage: string

  beforeAll(async () => {
    postgres = await startTestPostgres()
    api = await startTestApi({ databaseUrl: await postgres.databaseUrl() })
    model = await startModelServer()
    repository = await sampleRepository()
    directory = await mkdtemp(join(tmpdir(), 'ambient-moved-'))
    machines = [await machine('machine-1'), await machine('machine-2')]
    gateway = await modelGateway(model)
    const { port } = gateway.address() as AddressInfo
    for (const deps of machines) {
      deps.gatewayUrl = `http://${deps.host.loopback}:${port}`
      await deps.host.setGateway(deps.gatewayUrl)
    }
    const given = await givenRun(api.db, {
      agent,
      policy: 'allow',
      prompt: script('first', [
        {
          text: 'I work.',
          shell: `echo committed >committed; git add committed; git commit -q -m work; echo changed >>README.md
            echo untracked >untracked; pwd >where; echo ignored >ignored; echo beside >../beside`,
        },
        { text: 'Done so far.' },
      ]),
      environment: {
        repos: [{ url: repository.url, path: 'project' }],
        setup_commands: ['echo ignored >>.git/info/exclude; echo by the set-up >ignored'],
        env: {},
      },
    })
    runId = given.runId
    firstMessage = given.messageId
  })
  afterAll(async () => {
    for (const { host } of machines ?? []) await host.remove(runId)
    gateway?.close()
    await model?.close()
    await api?.close()
    await postgres?.stop()
    await repository?.remove()
    await rm(directory, { recursive: true, force: true })
  })

  /** A host with a data directory of its own. */
  async function machine(hostId: string): Promise<HostDeps> {
    const runsDirectory = join(directory, hostId, 'runs')
    await mkdir(runsDirectory, { recursive: true })
    await mkdir(AGENT_CACHE, { recursive: true })
    await symlink(AGENT_CACHE, join(directory, hostId, 'agents'))
    const host = await makers[kind]({ runsDirectory, nodePath: process.execPath, log, path: process.env.PATH })
    return {
      hostId,
      host,
      server: createHostServer({ url: api.url, key: HOST.key, hostId, secret: secretOf(hostId), log }),
      log,
      runsDirectory,
      agentsDirectory: join(directory, hostId, 'agents'),
      gatewayUrl: '',
      brokerUrl: '',
      bindsCredentials: false,
      git: await testGitAccess(join(directory, hostId)),
      ...testPrepared(runsDirectory, host),
      capacity: 10,
      metrics: createHostMetrics(new Registry(), async () => ({ capacity: 10, held: 0, draining: false })),
      onDraining: () => {},
      diskBytes: 1024 ** 3,
      resultBytes: 1024 * 1024,
      checkpointBytes: 50 * 1024 * 1024,
    }
  }

  const secretOf = (hostId: string) => `secret-of-${hostId}`
  const never = new AbortController().signal
  const at = async (index: 0 | 1, execution: number) =>
    openExecution(machines[index] as HostDeps, { runId, execution }, { interrupt: never, detach: never })

  async function claim(index: 0 | 1, execution: number): Promise<void> {
    const { hostId } = machines[index] as HostDeps
    await api.hold(runId, { execution, as: { id: hostId, secret: secretOf(hostId) } })
    await api.db
      .updateTable('executions')
      .set({ host_id: hostId })
      .where('run_id', '=', runId)
      .where('execution', '=', execution)
      .execute()
  }

  async function message(id: string, steps: ScriptStep[]): Promise<string> {
    const body = promptBody(script(id, steps), 'queue')
    return api.db.transaction().execute((tx) => insertMail(tx, runId, 'prompt', body))
  }

  const turn = async (index: 0 | 1, execution: number, messageId: string) =>
    carryOutTurn(await at(index, execution), { kind: 'prompt', messageId })
  const warnings = async () => {
    const { body } = await api.call('GET', `/agent/runs/${runId}/events?limit=500`)
    return body.events
      .filter((event: { kind: string }) => event.kind === 'warning')
      .map((event: { data: object }) => event.data)
  }
  const stored = async () =>
    (await api.db.selectFrom('checkpoints').select('id').where('run_id', '=', runId).execute()).map(({ id }) => id)
  const project = (index: 0 | 1) => join(machines[index]?.runsDirectory ?? '', runId, 'workspace/project')
  const git = (index: 0 | 1, ...args: string[]) =>
    execFileSync('git', ['-c', 'safe.directory=*', '-C', project(index), ...args], { encoding: 'utf8' }).trim()

  test('keeps a checkpoint after each turn, and no second one of the same', async () => {
    await claim(0, 1)
    expect(await prepare(await at(0, 1))).toBe('fresh')
    expect(await turn(0, 1, firstMessage)).toEqual({ kind: 'ended', stopReason: 'end_turn' })
    await checkpoint(await at(0, 1))
    const first = await stored()
    expect(first).toHaveLength(1)
    await checkpoint(await at(0, 1))
    expect(await stored()).toEqual(first)
    expect(await warnings()).toEqual([])
  })

  test('holds no credential', async () => {
    const file = join(directory, 'looked-at')
    await (await at(0, 1)).deps.server.loadCheckpoint(runId, 1, file, never)
    const content = execFileSync('gunzip', ['-c'], { input: await readFile(file), maxBuffer: 1e9, encoding: 'latin1' })
    expect(content).toContain('I work.')
    const tokens = model.requests.flatMap(({ credential }) => (credential === null ? [] : [credential]))
    expect(tokens.length).toBeGreaterThan(0)
    for (const token of new Set(tokens)) expect(content).not.toContain(token)
  })

  test('goes on at another host, with its work and knowing what was said', async () => {
    const before = git(0, 'log', '--format=%H %s')
    await machines[0]?.host.stop(runId)
    // A machine of its own would not be seen from here.
    await rename(join(directory, 'machine-1/runs', runId), join(directory, 'away'))
    await claim(1, 2)
    expect(await prepare(await at(1, 2))).toBe('restored')
    expect(git(1, 'log', '--format=%H %s')).toBe(before)
    expect(git(1, 'status', '--porcelain').split('\n').toSorted()).toEqual(['?? untracked', '?? where', 'M README.md'])
    expect(await readFile(join(project(1), 'ignored'), 'utf8')).toBe('ignored\n')
    expect(await readFile(join(project(1), '../beside'), 'utf8')).toBe('beside\n')
    expect(await warnings()).toMatchObject([
      { code: 'workspace_restored', from_execution: 1, repositories: ['project'], files: true, session: true },
    ])

    const id = await message('second', [
      { text: 'I go on.', shell: 'pwd >where; echo more >>README.md' },
      { text: 'Ready.' },
    ])
    expect(await turn(1, 2, id)).toEqual({ kind: 'ended', stopReason: 'end_turn' })
    expect(model.requests.at(-1)?.history).toEqual(['first', 'second'])
    const where = (await readFile(join(project(1), 'where'), 'utf8')).trim()
    expect(where).toBe(kind === 'docker' ? '/workspace/project' : project(1))
    await checkpoint(await at(1, 2))
  })

  test('a host that comes back late is refused, and goes on later only from what the other one has kept', async () => {
    await expect(at(0, 1)).rejects.toThrow(FencedError)
    await rename(join(directory, 'away'), join(directory, 'machine-1/runs', runId))
    expect(existsSync(project(0))).toBe(true)
    await machines[1]?.host.stop(runId)
    await claim(0, 3)
    expect(await prepare(await at(0, 3))).toBe('restored')
    expect(git(0, 'diff', '--', 'README.md')).toContain('+more')
    const id = await message('third', [{ text: 'Home again.' }])
    expect(await turn(0, 3, id)).toEqual({ kind: 'ended', stopReason: 'end_turn' })
    expect(model.requests.at(-1)?.history).toEqual(['first', 'second', 'third'])
    expect((await warnings()).map(({ code }: { code: string }) => code)).toEqual([
      'workspace_restored',
      'workspace_restored',
    ])
  })

  // Two agents tell: one whose notes name another path then, one whose database stays as it is.
  test.runIf(agent === 'claude' || agent === 'opencode')(
    'a fork knows what was said up to its checkpoint, has the work of then, and leaves the run alone',
    async () => {
      const source = runId
      const { body: before } = await api.call('GET', `/agent/runs/${source}/checkpoints`)
      const prompt = script('forked', [{ text: 'Another way.', shell: 'echo forked >>README.md' }, { text: 'Done.' }])
      const config = { permission_policy: 'allow' }
      const asked = { prompt, config, fork_from: { run_id: source, checkpoint: 1 } }
      const { status, body } = await api.call('POST', '/agent/runs', asked)
      expect(status, JSON.stringify(body)).toBe(200)
      runId = body.run_id
      try {
        const mail = api.db.selectFrom('mail').select('id').where('run_id', '=', runId)
        await claim(1, 1)
        expect(await prepare(await at(1, 1))).toBe('restored')
        expect(git(1, 'log', '-1', '--format=%s')).toBe('work')
        expect(await readFile(join(project(1), 'README.md'), 'utf8')).not.toContain('more')
        const { id } = await mail.executeTakeFirstOrThrow()
        expect(await turn(1, 1, id)).toEqual({ kind: 'ended', stopReason: 'end_turn' })
        expect(model.requests.at(-1)?.history).toEqual(['first', 'forked'])
        expect(git(1, 'diff', '--', 'README.md')).toContain('+forked')
        await checkpoint(await at(1, 1))
        expect(await stored()).toHaveLength(1)
        const { body: events } = await api.call('GET', `/agent/runs/${runId}/events?kind=setup`)
        const said = events.events.map(({ data }: { data: { text?: string } }) => data.text)
        expect(said).toContainEqual(expect.stringContaining(`Forked from run ${source}, checkpoint 1 of `))
        expect(await warnings()).toEqual([])
      } finally {
        for (const { host } of machines) await host.remove(runId)
        runId = source
      }
      expect((await api.call('GET', `/agent/runs/${source}/checkpoints`)).body).toEqual(before)
    },
  )
})

/** Stands where sandboxes of both kinds find it, and passes on to the model what they ask of a provider. */
async function modelGateway(model: ModelServer): Promise<Server> {
  const prefixes: Record<string, string> = { openai: '/v1', anthropic: '', gemini: '' }
  const server = createServer((request, response) => {
    const [, provider = '', rest = ''] = /^\/([a-z]+)(\/.*)?$/.exec(request.url ?? '') ?? []
    const target = new URL(`${model.url}${prefixes[provider] ?? ''}${rest}`)
    const onward = send(target, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  return server
}
