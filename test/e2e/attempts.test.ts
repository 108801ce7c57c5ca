// What the platform could not do is tried again, and everybody sees it; what the person alone can mend is not.
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createSocketServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { leftovers } from '../support/leftovers.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
let repository: SampleRepository
let daemon: Awaited<ReturnType<typeof daemonProxy>>
beforeAll(async () => {
  repository = await sampleRepository()
  // What a server of files needs to be a repository.
  await repository.git('update-server-info')
  daemon = await daemonProxy(join(repository.path, 'docker.sock'))
  stack = await startStack({ host: 'docker', env: { DOCKER_HOST: `unix://${daemon.path}` } })
})
afterAll(async () => {
  await stack?.stop()
  await daemon?.close()
  await repository?.remove()
})

const config = { harness: { type: 'command', command: ['ls'] }, idle_timeout_minutes: 0 }
const start = (url: string) => stack.start({ prompt: 'x', config, environment: { repos: [{ url, path: 'project' }] } })

/** What the transcript tells of attempts: which it was, of how many, and what went wrong. */
const attempts = async (runId: string) =>
  (await stack.events(runId)).flatMap(({ kind, data }) =>
    kind === 'warning' && data.code === 'attempt_failed' ? [[data.attempt, data.attempts, data.failure_code]] : [],
  )

/** Serves the repository over HTTP, and answers first as it is told to. */
async function gitServer(answers: ('503' | 'hangs up' | '404')[]) {
  const left = [...answers]
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? '', 'http://server').pathname
    const next = path === '/project.git/info/refs' ? left.shift() : undefined
    if (next === 'hangs up') return request.socket.destroy()
    if (next !== undefined) return response.writeHead(Number(next)).end()
    const file = join(repository.path, '.git', path.replace('/project.git/', ''))
    const content = await readFile(file).catch(() => null)
    response.writeHead(content ? 200 : 404).end(content)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/project.git`, left, close: () => void server.close() }
}

/** The Docker daemon as the host finds it: it can be away. */
async function daemonProxy(path: string) {
  let server: Server | undefined
  const sockets = new Set<Socket>()
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).once('close', () => sockets.delete(socket))
  }
  async function open(): Promise<void> {
    server = createSocketServer({ allowHalfOpen: true }, (client) => {
      const upstream = connect({ path: '/var/run/docker.sock', allowHalfOpen: true })
      for (const socket of [client, upstream]) keep(socket)
      client.pipe(upstream).pipe(client)
      client.once('close', () => upstream.destroy())
      upstream.once('close', () => client.destroy())
    }).listen(path)
    await once(server, 'listening')
  }
  async function close(): Promise<void> {
    server?.close()
    for (const socket of sockets) socket.destroy()
    await rm(path, { force: true })
  }
  await open()
  return { path, open, close }
}

test.concurrent('a repository whose server is in trouble is cloned when that is over, and each attempt is told', async () => {
  const server = await gitServer(['503', 'hangs up'])
  const runId = await start(server.url)
  await stack.until(runId, 'SUCCEEDED')
  expect(await attempts(runId)).toEqual([
    [1, 4, 'repository_unavailable'],
    [2, 4, 'repository_unavailable'],
  ])
  const told = (await stack.events(runId)).find(({ data }) => data.code === 'attempt_failed')
  expect(told?.data).toMatchObject({
    message: expect.stringMatching(
      /^Attempt 1 of 4 did not succeed: .* could not be cloned\. The next one comes in 2 s\.$/,
    ),
    log_tail: expect.stringContaining('503'),
    next_attempt_at: expect.stringMatching(/^\d{4}-/),
  })
  expect((await stack.item(runId)).execution).toBe(1)
  server.close()
})

test.concurrent('one that stays in trouble ends the run as ERROR, and one that is not there as FAILED at once', async () => {
  const [troubled, missing] = await Promise.all([
    gitServer(Array.from({ length: 20 }, () => '503' as const)),
    gitServer(Array.from({ length: 20 }, () => '404' as const)),
  ])
  const [runId, other] = await Promise.all([start(troubled.url), start(missing.url)])
  const ended = await stack.until(other, 'FAILED')
  expect(ended.failure).toMatchObject({ code: 'repository_unreachable', phase: 'workspace' })
  expect(await attempts(other)).toEqual([])
  const run = await stack.until(runId, 'ERROR')
  expect(run.failure).toMatchObject({ code: 'repository_unavailable', retryable: true })
  expect((await attempts(runId)).map(([attempt]) => attempt)).toEqual([1, 2, 3])
  for (const id of [runId, other]) expect(await leftovers(id)).toEqual([])
  for (const server of [troubled, missing]) server.close()
})

test.concurrent('a registry that stays in trouble ends the run as ERROR, and the attempts are told', async () => {
  let asked = 0
  const registry = createServer((_, response) => {
    asked += 1
    response.writeHead(503).end()
  }).listen(0, '127.0.0.1')
  await once(registry, 'listening')
  try {
    const image = `127.0.0.1:${(registry.address() as AddressInfo).port}/app:1`
    const runId = await stack.start({ prompt: 'x', config, environment: { image } })
    const run = await stack.until(runId, 'ERROR')
    expect(run.failure).toMatchObject({ code: 'registry_unavailable', phase: 'workspace', retryable: true })
    expect(run.failure?.message).toContain(image)
    expect(await attempts(runId)).toEqual([1, 2, 3].map((attempt) => [attempt, 4, 'registry_unavailable']))
    expect(asked).toBeGreaterThanOrEqual(4)
    expect(run.execution).toBe(1)
    expect(await leftovers(runId)).toEqual([])
  } finally {
    registry.close()
  }
})

test('a Docker daemon that is away for a while delays a run, and the attempts are told', async () => {
  await daemon.close()
  const runId = await start(repository.url)
  await stack.untilEvent(runId, ({ data }) => data.code === 'attempt_failed')
  await daemon.open()
  await stack.until(runId, 'SUCCEEDED')
  expect((await attempts(runId))[0]).toEqual([1, 8, 'host_unavailable'])
  expect((await stack.item(runId)).execution).toBe(1)
})

test('a daemon that is started anew in the middle of a turn does not end it', async () => {
  const command = ['sh', '-c', 'for n in 1 2 3 4 5 6 7 8; do echo "line $n"; sleep 1; done']
  const runId = await stack.start({
    prompt: 'x',
    config: { harness: { type: 'command', command }, idle_timeout_minutes: 0 },
  })
  await stack.untilEvent(runId, ({ kind, data }) => kind === 'output' && data.text === 'line 2')
  await daemon.close()
  await stack.untilEvent(runId, ({ data }) => data.code === 'attempt_failed')
  await daemon.open()
  const run = await stack.until(runId, 'SUCCEEDED')
  expect(run.execution).toBe(1)
  const lines = (await stack.events(runId)).filter(({ kind }) => kind === 'output').map(({ data }) => data.text)
  expect(lines).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => `line ${n}`))
  expect((await execa('docker', ['ps', '-aq', '--filter', `label=ambient.run=${runId}`])).stdout).toBe('')
})
