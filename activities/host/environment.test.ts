// Runs that work by the devcontainer.json of their repository, on a host with containers.
import { randomUUID } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import Docker from 'dockerode'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { agents } from '../../agents/index.ts'
import { installLightAgent, LIGHT_AGENT } from '../../chaos/light-agent/install.ts'
import type { InlineEnvironment } from '../../domain/run.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import { REPOSITORY } from '../../environments/docker/build-image.ts'
import { createDockerHost } from '../../environments/docker/host.ts'
import type { Host, Sandbox } from '../../environments/host.ts'
import { createHostMetrics } from '../../telemetry/host-metrics.ts'
import { executionOrder } from '../../test/support/execution-order.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import { type SampleRepository, sampleRepository } from '../../test/support/repository.ts'
import { checkpoint } from './checkpoint.ts'
import { type HostDeps, openRunState } from './deps.ts'
import type { Execution } from './execution.ts'
import { prepare } from './prepare.ts'
import { currentSandbox } from './sandbox.ts'
import type { HostServer } from './server.ts'

const docker = new Docker()
const log = pino({ level: 'silent' })
const never = new AbortController().signal
const BASE = 'ambient-base:latest'
/** Everything that this file builds is told apart by it, so that it is built anew and removed at the end. */
const mark = randomUUID()

let directory: string
let host: Host
let rootHost: Host
let repository: SampleRepository
let runs: string[]
/** What the transcript has been told. */
let said: { kind: string; data: Record<string, unknown> }[]

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-environment-'))
  await installLightAgent(join(directory, 'agents'))
  host = await dockerHost({})
  rootHost = await dockerHost({ rootAllowed: true })
})
beforeEach(async () => {
  repository = await sampleRepository()
  runs = []
  said = []
})
afterEach(async () => {
  for (const runId of runs) await host.remove(runId)
  await repository.remove()
})
afterAll(async () => {
  for (const { Id } of await docker.listImages({ filters: { label: [`ambient.test=${mark}`] } })) {
    await docker.getImage(Id).remove({ force: true })
  }
  await rm(directory, { recursive: true, force: true })
})

function dockerHost(options: Partial<Parameters<typeof createDockerHost>[0]>): Promise<Host> {
  return createDockerHost({
    runsDirectory: join(directory, 'runs'),
    nodePath: process.execPath,
    image: BASE,
    limits: { memoryMb: 512, cpus: 2, pids: 256 },
    builds: { minutes: 5, network: 'none', diskBytes: 2e9 },
    log,
    ...options,
  })
}

/** Commits files to the repository; what is no text becomes JSON. */
async function commit(files: Record<string, unknown>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    const file = join(repository.path, path)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content))
  }
  await repository.git('add', '.')
  await repository.git('commit', '--quiet', '--message', 'Files')
}

const dockerfile = (...lines: string[]) => [`FROM ${BASE}`, `LABEL ambient.test=${mark}`, ...lines, ''].join('\n')

/** It keeps one checkpoint. */
const server = {
  credential: async () => ({ token: 'token', tool_token: null, bound: true }),
  toolCredential: async () => null,
  asked: async () => ({ question: null, stopped: null, files: [], max_file_bytes: 0 }),
  saveCheckpoint: (_runId, _execution, { file }) => copyFile(file, join(directory, 'checkpoint')),
  async loadCheckpoint(_runId, _execution, file) {
    await copyFile(join(directory, 'checkpoint'), file)
    return true
  },
} as Partial<HostServer> as HostServer

interface Way {
  agent?: 'command' | typeof LIGHT_AGENT
  runId?: string
  execution?: number
  on?: Host
  environment?: Partial<InlineEnvironment>
  /** It is another host than the one of the first execution. */
  elsewhere?: boolean
  interrupt?: AbortSignal
  hear?: (text: string) => void
}

/** A worker comes to a run. */
async function worker(way: Way = {}): Promise<Execution> {
  const { agent = 'command', runId = randomUUID(), execution = 1, on = host, interrupt = never } = way
  if (!runs.includes(runId)) runs.push(runId)
  const runsDirectory = join(directory, way.elsewhere ? 'elsewhere' : 'runs')
  const deps = {
    hostId: way.elsewhere ? 'two' : 'one',
    host: on,
    server,
    log,
    metrics: createHostMetrics(new Registry(), async () => ({ capacity: 1, held: 0, draining: false })),
    runsDirectory,
    agentsDirectory: join(directory, 'agents'),
    gatewayUrl: 'http://127.0.0.1:9',
    git: await testGitAccess(directory),
    checkpointBytes: 1e7,
  }
  return {
    deps: deps as Partial<HostDeps> as HostDeps,
    ref: { runId, execution },
    order: executionOrder({
      ...{ run_id: runId, execution, agent, command: null },
      environment: { repos: [{ url: repository.url, path: 'project' }], ...way.environment },
      ...(way.elsewhere ? { has_checkpoint: true, former: { execution: 1, host_id: 'one' } } : {}),
    }),
    agent: agents[agent],
    policy: 'allow',
    redactor: createRedactor([]),
    state: openRunState(runsDirectory, runId),
    transcript: {
      storedLine: async () => 0,
      async record(_, events) {
        for (const { kind, data } of events) {
          said.push({ kind, data })
          if (typeof data.text === 'string') way.hear?.(data.text)
        }
      },
      notes: () => ({
        async add(kind, data) {
          said.push({ kind, data })
        },
      }),
    },
    signals: { interrupt, detach: never },
    stop: interrupt,
  }
}

/** Prepares a run, and gives its sandbox. */
async function prepared(way: Way = {}): Promise<{ sandbox: Sandbox; execution: Execution; workspace: string }> {
  const execution = await worker(way)
  await prepare(execution)
  const sandbox = await currentSandbox(execution)
  if (sandbox === null) throw new Error('there is no sandbox')
  return { sandbox, execution, workspace: join(execution.state.paths.workspace, 'project') }
}

/** What a command says in a sandbox. */
async function sayIn(sandbox: Sandbox, command: string): Promise<string> {
  const job = await sandbox.job({ id: `say-${randomUUID()}`, command: ['/bin/sh', '-c', command], env: {}, cwd: '/' })
  const lines: string[] = []
  for await (const batch of job.read(0, never)) lines.push(...batch.map(({ text }) => text))
  return lines.join('\n')
}

const warnings = () => said.filter(({ kind }) => kind === 'warning').map(({ data }) => String(data.message))
const texts = (step: unknown) =>
  said.filter(({ data }) => data.step === step && 'text' in data).map(({ data }) => data.text)
const builtImages = async () =>
  (await docker.listImages({ filters: { label: [`ambient.test=${mark}`] } })).flatMap(({ RepoTags }) => RepoTags ?? [])

/** Of a step of a build. Its processes are limited while it runs. */
const SAY_LIMITS = [
  'for i in $(seq 100); do',
  '  most=$(cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null); [ "$most" != 256 ] || break; sleep 0.1;',
  'done; echo processes $most; echo core dumps $(ulimit -H -c)',
].join(' ')

test('a Dockerfile is built once for the same content, and its commands run in it as its user, in order', async () => {
  await commit({
    '.devcontainer/Dockerfile': dockerfile(
      'RUN useradd --uid 1234 --create-home --groups users dev && echo from the build && echo built > /made',
      `RUN ${SAY_LIMITS}`,
      'COPY . /context',
      'ENV GREETING=hello PATH=/opt/tool:$PATH',
    ),
    '.devcontainer/devcontainer.json': `{
      // as the team has it
      "build": { "dockerfile": "Dockerfile", "context": "..", "args": { "UNUSED": "x" } },
      "remoteUser": "dev",
      "containerEnv": { "WHERE": "\${containerWorkspaceFolder}" },
      "remoteEnv": { "PATH": "\${containerEnv:PATH}:/more", "TWICE": "\${containerEnv:GREETING} \${containerEnv:GREETING}" },
      "postCreateCommand": { "one": "id -un; id -Gn; cat /made; pwd; echo $WHERE", "two": ["sh", "-c", "echo $TWICE $PATH"] },
      "onCreateCommand": "echo first > order",
      "postStartCommand": "echo started >> ../starts",
      "features": { "x": {} },
    }`,
    '.dockerignore': 'secret\n',
    secret: 'not to be copied',
  })
  const { sandbox, execution, workspace } = await prepared({
    agent: LIGHT_AGENT,
    environment: { setup_commands: ['echo last >> order; echo $WHERE', 'touch mine'], env: { WHERE: 'request' } },
  })
  const [image] = await builtImages()
  expect(image).toMatch(new RegExp(`^${REPOSITORY}:[0-9a-f]{32}$`))
  expect(await sandbox.image()).toMatchObject({ name: image })
  expect(texts('image')).toEqual(expect.arrayContaining(['from the build', 'processes 256', 'core dumps 0']))
  expect(texts('postCreateCommand (one)')).toEqual(['dev', 'dev users', 'built', '/workspace/project', 'request'])
  expect(texts('postCreateCommand (two)')).toEqual([expect.stringMatching(/^hello hello \/opt\/tool:.*:\/more$/)])
  expect(texts(1)).toEqual(['request'])
  expect(warnings()).toEqual([expect.stringMatching(/^features is not honoured/)])
  expect(await readFile(join(workspace, 'order'), 'utf8')).toBe('first\nlast\n')
  expect(await stat(join(workspace, 'mine'))).toMatchObject({ uid: 1234, gid: 1234 })
  expect(await stat(join(workspace, 'README.md'))).toMatchObject({ uid: 1234 })
  expect(await sayIn(sandbox, 'ls -a /context')).toBe(
    '.\n..\n.devcontainer\n.dockerignore\nREADME.md'.replace('.dockerignore\n', ''),
  )

  // The agent has changed all of it; another sandbox of the run is made as the first one was.
  await writeFile(join(workspace, '.devcontainer/devcontainer.json'), 'broken')
  await host.stop(execution.ref.runId)
  const again = await prepared({ runId: execution.ref.runId, execution: 2 })
  expect(again.sandbox.generation).toBe(2)
  expect(await sayIn(again.sandbox, 'id -un; cat /workspace/starts')).toBe('dev\nstarted\nstarted')
  expect(texts('postCreateCommand (one)')).toHaveLength(5)

  // Even where the image has gone meanwhile.
  await writeFile(join(workspace, '.devcontainer/Dockerfile'), 'broken')
  await host.stop(execution.ref.runId)
  await docker.getImage(String(image)).remove({ force: true })
  const third = await prepared({ runId: execution.ref.runId, execution: 3 })
  expect(await sayIn(third.sandbox, 'id -un; cat /made')).toBe('dev\nbuilt')
  expect(await builtImages()).toEqual([image])

  // Another run finds the image.
  const before = said.length
  await prepared()
  expect(said.slice(before).filter(({ data }) => data.step === 'image')).toEqual([])
})

test('on another host a run goes on in the image and as the user that it began with', async () => {
  await commit({
    '.devcontainer/Dockerfile': dockerfile('RUN useradd --uid 1234 dev && echo first > /made'),
    '.devcontainer/devcontainer.json': { build: { dockerfile: 'Dockerfile' }, remoteUser: 'dev' },
  })
  const { execution, workspace } = await prepared()
  const { runId } = execution.ref
  // Both the agent and the others of its team have other plans since.
  await writeFile(join(workspace, '.devcontainer/devcontainer.json'), 'broken')
  await writeFile(join(workspace, 'work'), 'of the agent')
  await commit({ '.devcontainer/Dockerfile': dockerfile('RUN echo second > /made') })
  expect(await checkpoint(execution)).toBe('stored')
  const other = await dockerHost({ runsDirectory: join(directory, 'elsewhere') })
  try {
    const { sandbox, workspace: there } = await prepared({ runId, execution: 2, on: other, elsewhere: true })
    expect(await sayIn(sandbox, 'id -un; cat /made')).toBe('dev\nfirst')
    expect(await readFile(join(there, '.devcontainer/devcontainer.json'), 'utf8')).toBe('broken')
    expect(await stat(join(there, 'work'))).toMatchObject({ uid: 1234 })
  } finally {
    await other.remove(runId)
  }
})

test('the request goes before the file: its image, or no devcontainer.json at all', async () => {
  await commit({
    '.devcontainer.json': { image: 'not-there:1', remoteUser: 'nobody-knows', postCreateCommand: 'echo theirs' },
  })
  const { sandbox } = await prepared({ environment: { image: BASE } })
  expect(await sandbox.image()).toMatchObject({ name: BASE })
  expect(texts('postCreateCommand')).toEqual(['theirs'])
  expect(warnings()).toEqual([expect.stringContaining('names its own image')])
  said = []
  await prepared({ environment: { devcontainer: false } })
  expect(said.filter(({ data }) => data.step !== 'clone')).toEqual([])
  await expect(prepared()).rejects.toMatchObject({ failure: { code: 'image_not_found', phase: 'workspace' } })
})

test('a user that the image does not have is a failure; root is one where the host allows it, without capabilities', async () => {
  await commit({ '.devcontainer.json': { remoteUser: 'somebody' } })
  await expect(prepared()).rejects.toMatchObject({
    failure: { code: 'devcontainer_invalid', message: expect.stringContaining('no user "somebody"') },
  })
  await commit({ '.devcontainer.json': { remoteUser: 'root' } })
  expect(await sayIn((await prepared()).sandbox, 'id -u')).toBe('1000')
  expect(warnings()).toEqual([expect.stringContaining('does not work as root')])
  said = []
  const { sandbox } = await prepared({ on: rootHost })
  expect(sandbox.owner).toEqual({ uid: 0, gid: 0 })
  expect(await sayIn(sandbox, 'id -u; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status')).toBe(
    '0\nCapEff:\t0000000000000000\nNoNewPrivs:\t1',
  )
  expect(warnings()).toEqual([])
})

test('a step that fails fails the run with its command, its exit code and the end of the log', async () => {
  await commit({
    '.devcontainer.json': { dockerFile: 'Dockerfile' },
    Dockerfile: dockerfile('RUN echo almost there && exit 7'),
  })
  await expect(prepared()).rejects.toMatchObject({
    failure: {
      code: 'image_build_failed',
      phase: 'workspace',
      command: 'RUN echo almost there && exit 7',
      exitCode: 7,
      logTail: expect.stringContaining('almost there'),
    },
  })
  await commit({ Dockerfile: 'FROM ambient-base:latest\nNONSENSE\n' })
  await expect(prepared()).rejects.toMatchObject({
    failure: { code: 'image_build_failed', logTail: expect.stringContaining('NONSENSE') },
  })
  await commit({ Dockerfile: dockerfile('COPY missing /') })
  await expect(prepared()).rejects.toMatchObject({
    failure: { code: 'image_build_failed', command: 'COPY missing /' },
  })
  await commit({ '.devcontainer.json': { postCreateCommand: ['sh', '-c', 'echo no; exit 3'] } })
  await expect(prepared()).rejects.toMatchObject({
    failure: { code: 'setup_command_failed', message: 'postCreateCommand ended with exit code 3.', exitCode: 3 },
  })
})

test('two runs share a build that goes on; it ends when both are cancelled, within 5 s', async () => {
  await commit({
    '.devcontainer.json': { dockerFile: 'Dockerfile' },
    Dockerfile: dockerfile('RUN echo it goes on; sleep 600'),
  })
  const cancels = [new AbortController(), new AbortController()] as const
  const begun = Promise.withResolvers<void>()
  const waits = Promise.withResolvers<void>()
  const first = prepared({
    interrupt: cancels[0].signal,
    hear: (text) => text === 'it goes on' && begun.resolve(),
  })
  first.catch(() => {}) // Looked at below.
  await Promise.race([begun.promise, first])
  const second = prepared({
    interrupt: cancels[1].signal,
    hear: (text) => text.includes('Another run') && waits.resolve(),
  })
  second.catch(() => {})
  await Promise.race([waits.promise, second])
  const steps = async () => {
    const running = await docker.listContainers()
    return running.filter(({ Command }) => Command.includes('it goes on')).length
  }
  expect(await steps()).toBe(1)
  cancels[0].abort(new Error('first cancelled'))
  await expect(first).rejects.toThrow('first cancelled')
  expect(await steps()).toBe(1)
  const began = performance.now()
  cancels[1].abort(new Error('second cancelled'))
  await expect(second).rejects.toThrow('second cancelled')
  await expect.poll(steps).toBe(0)
  expect(performance.now() - began).toBeLessThan(5_000)
})

test('a build ends at its time, and where a step takes too much of the disk', async () => {
  await commit({
    '.devcontainer.json': { dockerFile: 'Dockerfile' },
    Dockerfile: dockerfile('RUN sleep 600'),
  })
  const hurried = await dockerHost({ builds: { minutes: 0.03, network: 'none', diskBytes: 1e9 } })
  await expect(prepared({ on: hurried })).rejects.toMatchObject({
    failure: { code: 'image_build_failed', message: expect.stringContaining('longer than'), command: 'RUN sleep 600' },
  })
  await commit({ Dockerfile: dockerfile('RUN dd if=/dev/zero of=/large bs=1M count=20 && sleep 600') })
  const small = await dockerHost({ builds: { minutes: 5, network: 'none', diskBytes: 10e6 } })
  await expect(prepared({ on: small })).rejects.toMatchObject({
    failure: { code: 'image_build_failed', message: expect.stringContaining('of the disk') },
  })
  const none = await dockerHost({ builds: { minutes: 0, network: 'none', diskBytes: 1e9 } })
  await expect(prepared({ on: none })).rejects.toMatchObject({
    failure: { code: 'image_build_failed', message: expect.stringContaining('builds no images') },
  })
})

test('a step reaches what sandboxes reach, and nothing where the environment names the hosts that it may reach', async () => {
  const open = await dockerHost({ builds: { minutes: 5, network: 'sandbox', diskBytes: 1e9 } })
  const hasRoute = 'RUN test "$(wc -l < /proc/net/route)" -gt 1'
  const routes = 'awk \'NR == 2 { print "through " $3 }\' /proc/net/route'
  await commit({
    '.devcontainer.json': { dockerFile: 'Dockerfile' },
    Dockerfile: dockerfile(hasRoute, `RUN ${routes} && echo ${mark}`),
  })
  const { sandbox } = await prepared({ on: open })
  // Not in their network: with its rights it could pretend to be another one there.
  const through = texts('image').filter((text) => String(text).startsWith('through '))
  expect(through).toHaveLength(1)
  expect(through).not.toContain(await sayIn(sandbox, routes))
  // The daemon knows steps that it has carried out.
  await commit({ Dockerfile: dockerfile(`${hasRoute} && true`) })
  await expect(prepared({ on: open, environment: { egress: { allow: ['example.com'] } } })).rejects.toMatchObject({
    failure: { code: 'image_build_failed', command: `${hasRoute} && true` },
  })
})

test('nothing is fetched from the web by the daemon itself, which is in no network of sandboxes', async () => {
  const server = createServer((request, response) => response.end(request.url))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  let requests = 0
  server.on('request', () => {
    requests += 1
  })
  const add = `ADD http://127.0.0.1:${(server.address() as AddressInfo).port}/x /x`
  const base = { repo: 'ambient-test-onbuild', tag: randomUUID() }
  const container = await docker.createContainer({ Image: BASE })
  try {
    await container.commit({ ...base, changes: `ONBUILD ${add}` })
    for (const text of [dockerfile(add), `FROM ${base.repo}:${base.tag}\n`]) {
      await commit({ '.devcontainer.json': { dockerFile: 'Dockerfile' }, Dockerfile: text })
      await expect(prepared()).rejects.toMatchObject({ failure: { code: 'image_build_failed', command: add } })
    }
    expect(requests).toBe(0)
  } finally {
    await container.remove({ force: true })
    await docker.getImage(`${base.repo}:${base.tag}`).remove({ force: true })
    server.close()
  }
})

test('built images are removed when they take too much, those unused longest first', async () => {
  await commit({ '.devcontainer.json': { dockerFile: 'Dockerfile' }, Dockerfile: dockerfile('RUN echo one > /one') })
  const { execution, sandbox } = await prepared()
  const { name = '' } = (await sandbox.image()) ?? {}
  await host.remove(execution.ref.runId)
  const noted = join(directory, 'runs', 'images.json')
  const images = JSON.parse(await readFile(noted, 'utf8'))
  expect(Object.keys(images)).toContain(name)
  // Long ago.
  for (const image of Object.values<{ usedAt: number }>(images)) image.usedAt = 0
  await writeFile(noted, JSON.stringify(images))
  expect(await host.trimImages(0)).toContain(name)
  expect(await builtImages()).not.toContain(name)
})

test('on a host without containers the file has no effect, which is said once', async () => {
  await commit({ '.devcontainer.json': '{ broken' })
  const runsDirectory = join(directory, 'runs')
  const direct = await createDirectHost({ runsDirectory, nodePath: process.execPath, log, path: process.env.PATH })
  const { execution } = await prepared({ on: direct })
  expect(warnings()).toEqual([expect.stringContaining('has no effect')])
  await direct.remove(execution.ref.runId)
})
