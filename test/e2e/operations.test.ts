// What an operator has beside the runs themselves: metrics, traces, Temporal's lists, and hosts that come and go.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, Connection } from '@temporalio/client'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../../config.ts'
import type { WorkerItem } from '../../domain/worker.ts'
import { AGENT_CACHE } from '../support/caches.ts'
import { type Collector, startCollector } from '../support/collector.ts'
import { script } from '../support/model-server.ts'
import { endKeptSandboxes, type Stack, startStack } from '../support/stack.ts'

let collector: Collector
let stack: Stack
let metricsPort: number
const others: OtherMachine[] = []

beforeAll(async () => {
  collector = await startCollector()
  metricsPort = await fourFreePorts()
  stack = await startStack({
    host: 'direct',
    env: {
      AMBIENT_METRICS_PORT: String(metricsPort),
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=the-operator',
      OTEL_BSP_SCHEDULE_DELAY: '100',
    },
  })
})
afterAll(async () => {
  await Promise.all(others.map((machine) => machine.stop()))
  await stack?.stop()
  await collector?.close()
})

const command = (script: string, fields: object = {}) => ({
  prompt: 'Do it',
  config: { harness: { type: 'command', command: ['sh', '-c', script] }, ...fields },
})

/** The lines of a metric, by its labels as they are written. */
async function scrape(url: string, key?: string): Promise<Map<string, number>> {
  const response = await fetch(url, { headers: key === undefined ? {} : { authorization: `Bearer ${key}` } })
  expect(response.status, url).toBe(200)
  expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4')
  const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]))
}

const sum = (metrics: Map<string, number>, name: string, ...labels: string[]) =>
  [...metrics]
    .filter(([key]) => key.startsWith(`${name}{`) && labels.every((label) => key.includes(label)))
    .reduce((total, [, value]) => total + value, 0)

describe('metrics', () => {
  test('of every process tell of the runs that went through it', async () => {
    await stack.until(await stack.start(command('echo done')), 'SUCCEEDED')
    await stack.until(await stack.start(command('exit 3')), 'FAILED')
    const part = (place: number) => scrape(`http://127.0.0.1:${metricsPort + place}/metrics`)

    const server = await scrape(`${stack.url}/metrics`, stack.key)
    expect(server.get('ambient_runs{state="SUCCEEDED",source="API"}')).toBe(1)
    expect(server.get('ambient_runs{state="FAILED",source="API"}')).toBe(1)
    expect(server.get('ambient_events_stored_total')).toBeGreaterThan(8)
    expect(server.get('ambient_mail_undelivered')).toBe(0)
    expect(server.get('ambient_mail_delivery_seconds_count{kind="prompt"}')).toBe(2)
    expect(server.get('ambient_pool_capacity_runs{pool="default"}')).toBe(20)
    expect(server.get('ambient_hosts{pool="default",state="live"}')).toBe(1)
    expect(server.get('ambient_database_up')).toBe(1)
    const posts = 'ambient_http_requests_total{method="POST",route="/api/v1/agent/runs",status="200"}'
    expect(server.get(posts)).toBe(2)
    const route = 'route="/internal/v1/runs/:runId/executions/:execution/events"'
    expect(sum(server, 'ambient_http_requests_total', route)).toBeGreaterThan(0)

    const supervisor = await part(0)
    for (const name of ['server', 'gateway', 'worker', 'host', 'Postgres', 'Temporal'])
      expect(supervisor.get(`ambient_part_up{part="${name}"}`), name).toBe(1)

    // What the worker counts, it counts after it has recorded it.
    await expect.poll(async () => sum(await part(1), 'ambient_run_state_changes_total', 'state="FAILED"')).toBe(1)
    const worker = await part(1)
    expect(sum(worker, 'ambient_run_failures_total', 'phase="turn"', 'code="command_failed"')).toBe(1)
    expect(worker.get('ambient_queue_wait_seconds_count{pool="default"}')).toBe(2)
    expect(sum(worker, 'ambient_run_state_seconds_count', 'state="INPROGRESS"')).toBe(2)
    expect(sum(worker, 'temporal_workflow_task_execution_latency_seconds_count')).toBeGreaterThan(0)

    const host = await part(2)
    expect(host.get('ambient_host_capacity_runs')).toBe(20)
    expect(sum(host, 'ambient_turn_seconds_count', 'agent="command"')).toBe(2)
    for (const phase of ['workspace', 'setup']) expect(sum(host, 'ambient_phase_seconds_count', phase), phase).toBe(2)
    expect(sum(host, 'temporal_activity_execution_latency_seconds_count')).toBeGreaterThan(0)

    expect(sum(await part(3), 'ambient_build_info', 'part="gateway"')).toBe(1)
  })

  test('of the server are for whoever has its key', async () => {
    const response = await fetch(`${stack.url}/metrics`)
    expect(response.status).toBe(401)
  })
})

test('a trace goes from the request of a caller to what the agent is told', async () => {
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const { body } = await stack.call<{ run_id: string }>('POST', '/api/v1/agent/runs', command('echo traced'), {
    traceparent: `00-${traceId}-b7ad6b7169203331-01`,
  })
  await stack.until(body.run_id, 'SUCCEEDED')
  const named = (name: string) => collector.spans.filter((span) => span.traceId === traceId && span.name === name)
  const wanted = [
    ['ambient-server', 'POST /api/v1/agent/runs'],
    ['ambient-server', 'SignalWithStartWorkflow:agentRun'],
    ['ambient-worker', 'RunActivity:recordStates'],
    ['ambient-host', 'RunActivity:claim'],
    ['ambient-host', 'RunActivity:runTurn'],
  ]
  await expect
    .poll(() => wanted.filter(([service, name = '']) => !named(name).some((span) => span.service === service)), {
      timeout: 20_000,
    })
    .toEqual([])
  expect(collector.headers['x-tenant']).toBe('the-operator')
  // Each span's parent, up to the caller's.
  const pathFrom = (name: string) => {
    const byId = new Map(collector.spans.map((span) => [span.spanId, span]))
    const path: string[] = []
    for (let at = named(name)[0]; at; at = byId.get(at.parentSpanId)) path.push(at.name)
    return path
  }
  // Each process sends its spans when it likes, and the workflow's own comes when it ends, long after its activities'.
  await expect
    .poll(() => pathFrom('RunActivity:runTurn').slice(0, 2))
    .toEqual(['RunActivity:runTurn', 'StartActivity:runTurn'])
  expect(named('POST /api/v1/agent/runs')[0]?.parentSpanId).toBe('b7ad6b7169203331')
  expect(JSON.stringify(collector.spans)).not.toContain('echo traced')
})

test('runs are found in Temporal by their state, agent, source, pool and parent', async () => {
  const parent = await stack.start(command('echo parent'))
  const child = await stack.start({ ...command('exit 1'), parent_run_id: parent, priority: 5 })
  await stack.until(child, 'FAILED')
  const connection = await Connection.connect({ address: `127.0.0.1:${stack.env.AMBIENT_TEMPORAL_PORT}` })
  try {
    const client = new Client({ connection })
    const find = async (query: string) => {
      const found: string[] = []
      for await (const { workflowId } of client.workflow.list({ query })) found.push(workflowId)
      return found
    }
    await expect.poll(() => find(`AmbientParent = "${parent}"`)).toEqual([child])
    const query = [
      'AmbientState = "FAILED"',
      'AmbientAgent = "command"',
      'AmbientSource = "API"',
      'AmbientPool = "default"',
      'AmbientTeam = "default"',
      'AmbientPriority = 5',
    ].join(' and ')
    await expect.poll(() => find(query)).toEqual([child])
  } finally {
    await connection.close()
  }
})

describe('a host of another machine', () => {
  test('joins by one command and one key, without a database, and takes the runs of its pool', async () => {
    const { key } = await cli<{ key: string }>('workers', 'keys', 'create', 'gpu machine', '--pool', 'gpu', '--json')
    const machine = await joinAs(key, '--pool', 'gpu', '--capacity', '2')
    const [worker] = (await workersList()).filter(({ pool }) => pool === 'gpu')
    expect(worker).toMatchObject({ state: 'live', kind: 'direct', capacity: 2, worker_id: await machine.id() })
    const environment = (await readFile(`/proc/${machine.process.pid}/environ`, 'utf8')).split('\0')
    const names = environment.map((line) => line.split('=')[0]).filter((name) => name !== '')
    // Where its data is and that it uses no Docker is the test's own wish; the rest is all that a machine is given.
    const given = names.filter((name) => /^(AMBIENT_(?!DATA|HOST|TYPED)|TEMPORAL|DATABASE|PG|OTEL)/.test(name ?? ''))
    expect(given.sort()).toEqual(['AMBIENT_URL', 'AMBIENT_WORKER_KEY', 'TEMPORAL_ADDRESS'])

    const item = await stack.until(await stack.start(command('echo from afar', { worker_host: 'gpu' })), 'SUCCEEDED')
    const timeline = await stack.call<{ events: { event_type: string; payload: { host_id?: string } }[] }>(
      'GET',
      `/api/v1/agent/runs/${item.run_id}/timeline`,
    )
    const claimed = timeline.body.events.find(({ event_type: type }) => type === 'oz_run_claimed')
    expect(claimed?.payload.host_id).toBe(worker?.worker_id)
    const text = JSON.stringify(await stack.events(item.run_id))
    expect(text).toContain('from afar')
  })

  test('has agents that reach the gateway by what the server says of it', async () => {
    const prompt = script('from-afar', [{ text: 'Hello from afar.' }])
    const run = { prompt, config: { worker_host: 'gpu', permission_policy: 'allow' } }
    const runId = await stack.start(run)
    await stack.until(runId, 'SUCCEEDED')
    expect(JSON.stringify(await stack.events(runId))).toContain('Hello from afar.')
  })

  test('that drains finishes what it holds, takes nothing new, and says when it may be stopped', async () => {
    const [machine] = others
    const id = (await machine?.id()) ?? ''
    const gate = join(stack.data, 'gate')
    const wait = `while [ ! -e ${gate} ]; do sleep 0.1; done; echo finished`
    const held = await stack.start(command(wait, { worker_host: 'gpu' }))
    await stack.until(held, 'INPROGRESS')
    const [before] = (await workersList()).filter(({ worker_id: other }) => other === id)
    expect(before?.state).toBe('live')

    const drained = cli<WorkerItem>('workers', 'drain', id, '--wait', '--json')
    await expect
      .poll(async () => (await workersList()).find((worker) => worker.worker_id === id)?.state)
      .toBe('draining')
    const waiting = await stack.start(command('echo later', { worker_host: 'gpu' }))
    await execa('touch', [gate])
    await stack.until(held, 'SUCCEEDED')
    expect((await drained).state).toBe('drained')
    expect((await stack.item(waiting)).state).toBe('QUEUED')

    await cli('workers', 'undrain', id, '--json')
    await stack.until(waiting, 'SUCCEEDED')
  })

  test('is refused outside of the pool of its key, in a sentence that says what to do', async () => {
    const [machine] = others
    const joined = await joinAs(machine?.key ?? '', '--pool', 'default').catch((error: Error) => error.message)
    // Beside its log.
    const said = String(joined)
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('{'))
    expect(said).toEqual([
      `ambient: The server at ${stack.url} does not take this host in: This key is for hosts of the pool "gpu". Start the host in that pool (--pool, AMBIENT_POOL), or give it a key for its own: ambient workers keys create`,
    ])
  })

  test('is refused from the moment its key is revoked', async () => {
    const [machine] = others
    const { keys } = await cli<{ keys: { uid: string; name: string }[] }>('workers', 'keys', 'list', '--json')
    const uid = keys.find(({ name }) => name === 'gpu machine')?.uid ?? ''
    await ambient('workers', 'keys', 'revoke', uid)
    const again = await joinAs(machine?.key ?? '', '--pool', 'gpu').catch((error: Error) => error.message)
    expect(again).toContain('This key is not valid here')
  })
})

interface OtherMachine {
  process: ChildProcess
  key: string
  id(): Promise<string>
  stop(): Promise<void>
}

/** `ambient host` with a data directory of its own and what another machine would be given; resolves once it has reported. */
async function joinAs(key: string, ...args: string[]): Promise<OtherMachine> {
  const data = await mkdtemp(join(tmpdir(), 'ambient-machine-'))
  await symlink(AGENT_CACHE, join(data, 'agents'))
  const host = spawn(join(root, 'bin', 'ambient'), ['host', ...args], {
    cwd: tmpdir(),
    env: {
      PATH: process.env.PATH ?? '',
      HOME: data,
      AMBIENT_DATA: data,
      AMBIENT_HOST: 'direct',
      AMBIENT_URL: stack.url,
      TEMPORAL_ADDRESS: `127.0.0.1:${stack.env.AMBIENT_TEMPORAL_PORT}`,
      AMBIENT_WORKER_KEY: key,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const machine: OtherMachine = {
    process: host,
    key,
    id: async () => (await readFile(join(data, 'host-id'), 'utf8')).trim(),
    async stop() {
      if (host.exitCode === null && host.signalCode === null) {
        host.kill('SIGTERM')
        await once(host, 'exit')
      }
      await endKeptSandboxes(data)
      await rm(data, { recursive: true, force: true })
    },
  }
  let said = ''
  const ready = new Promise<void>((resolve, reject) => {
    const hear = (chunk: Buffer) => {
      said += chunk.toString()
      if (said.includes('"polling"')) resolve()
    }
    host.stdout?.on('data', hear)
    host.stderr?.on('data', hear)
    host.once('exit', () => reject(new Error(said)))
  })
  try {
    await ready
  } catch (error) {
    await machine.stop()
    throw error
  }
  others.push(machine)
  return machine
}

const workersList = async () => (await cli<{ workers: WorkerItem[] }>('workers', '--json')).workers

const ambient = (...args: string[]) =>
  execa(join(root, 'bin', 'ambient'), args, {
    env: { AMBIENT_URL: stack.url, AMBIENT_API_KEY: stack.key, AMBIENT_DATA: stack.data },
  })

const cli = async <T>(...args: string[]): Promise<T> => JSON.parse((await ambient(...args)).stdout) as T

/** The first of four ports in a row that nobody listens on. */
async function fourFreePorts(): Promise<number> {
  const isFree = (port: number) =>
    new Promise<boolean>((resolve) => {
      const server = createServer()
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
  for (let first = 21_000; ; first += 4) {
    const free = await Promise.all([0, 1, 2, 3].map((place) => isFree(first + place)))
    if (free.every(Boolean)) return first
  }
}
