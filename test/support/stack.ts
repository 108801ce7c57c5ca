// The whole of Ambient as its user starts it, on free ports, in a directory of its own, with the tests' model server behind it.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, open, readFile, rm, symlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createParser } from 'eventsource-parser'
import { execa } from 'execa'
import { pino } from 'pino'
import { root } from '../../config.ts'
import type { RunEvent } from '../../domain/event.ts'
import type { RunItem } from '../../domain/run.ts'
import { isTerminal, type RunState } from '../../domain/state.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import { unmountAll } from '../../environments/prepared/overlay.ts'
import { AGENT_CACHE, CODE_CACHE } from './caches.ts'
import { type ModelServer, startModelServer } from './model-server.ts'
import { temporalBinary } from './temporal.ts'

export type Part = 'server' | 'gateway' | 'worker' | 'host' | 'postgres' | 'temporal'

export interface Stack {
  readonly url: string
  readonly key: string
  readonly data: string
  readonly hostKind: 'docker' | 'direct'
  readonly model: ModelServer
  readonly env: Record<string, string>
  /** Any route of the API; the answer parsed, whatever its status. */
  call<T = unknown>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer<T>>
  start(body: Record<string, unknown>): Promise<string>
  item(runId: string): Promise<RunItem>
  /** Waits, on the event stream, for a state. Fails at once when the run ends in another one. */
  until(runId: string, state: RunState, options?: { execution?: number }): Promise<RunItem>
  /** Waits for an event that fits. */
  untilEvent(runId: string, fits: (event: RunEvent) => boolean): Promise<RunEvent>
  /** The whole transcript, by pages. */
  events(runId: string): Promise<RunEvent[]>
  /** Events as a reader of the event stream gets them, over every break, until the signal. */
  stream(runId: string, signal?: AbortSignal): AsyncGenerator<RunEvent>
  /** The process that plays a part at this moment. */
  pid(part: Part): Promise<number>
  /** Kills a part with -9 and waits until the supervisor has another one in its place. */
  kill(part: Part): Promise<void>
  /** What `ambient start` has said. */
  log(): Promise<string>
  /** Ends `ambient start` itself. */
  end(signal: NodeJS.Signals): Promise<void>
  /** `ambient start` again, on the same data. */
  startAgain(): Promise<void>
  /** Stops everything and removes the data, unless it is to be looked at. */
  stop(options?: { keepData: boolean }): Promise<void>
}

export interface Answer<T> {
  status: number
  headers: Headers
  body: T
}

export interface StackOptions {
  host: 'docker' | 'direct'
  env?: Record<string, string>
  /** Keep the model's settings out: the demo. */
  withoutModel?: boolean
  /** Where agents' programs are. Absent: the tests' own, installed once for all. */
  agents?: string
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const data = await mkdtemp(join(tmpdir(), 'ambient-stack-'))
  const agents = options.agents ?? AGENT_CACHE
  await mkdir(agents, { recursive: true })
  await symlink(agents, join(data, 'agents'))
  await mkdir(CODE_CACHE, { recursive: true })
  await symlink(CODE_CACHE, join(data, 'cache'))
  const model = await startModelServer()
  const env = await settings(data, model, options)
  const url = `http://127.0.0.1:${env.AMBIENT_PORT}`
  const supervisor = await launch(env, data)
  const key = (await readFile(join(data, 'admin-key'), 'utf8')).trim()
  return createStack({ url, key, data, model, env, options, supervisor })
}

/** `ambient start`, until everything is ready. */
async function launch(env: Record<string, string>, data: string): Promise<ChildProcess> {
  const log = join(data, 'start.log')
  const output = await open(log, 'a')
  const from = (await readFile(log, 'utf8')).length
  const supervisor = spawn(join(root, 'bin', 'ambient'), ['start'], {
    cwd: root,
    env: {
      PATH: `${dirname(temporalBinary())}:${process.env.PATH ?? ''}`,
      HOME: process.env.HOME ?? '',
      // As with `npm start`.
      NODE_COMPILE_CACHE: join(data, 'cache', 'node'),
      ...env,
    },
    stdio: ['ignore', output.fd, output.fd],
  })
  await output.close()
  await ready(supervisor, log, from)
  return supervisor
}

async function settings(data: string, model: ModelServer, options: StackOptions): Promise<Record<string, string>> {
  const names = [
    'AMBIENT_PORT',
    'AMBIENT_GATEWAY_PORT',
    'AMBIENT_POSTGRES_PORT',
    'AMBIENT_TEMPORAL_PORT',
    'AMBIENT_TEMPORAL_UI_PORT',
  ]
  const ports = await freePorts(names.length)
  return {
    ...Object.fromEntries(names.map((name, index) => [name, String(ports[index])])),
    AMBIENT_DATA: data,
    AMBIENT_HOST: options.host,
    // Several stacks run at once, and these ports are not theirs alone.
    AMBIENT_METRICS_PORT: '0',
    ...(options.withoutModel
      ? {}
      : {
          OPENAI_API_KEY: 'real-openai-key-0123456789',
          OPENAI_BASE_URL: `${model.url}/v1`,
          ANTHROPIC_API_KEY: 'real-anthropic-key-0123456789',
          ANTHROPIC_BASE_URL: model.url,
          GEMINI_API_KEY: 'real-gemini-key-0123456789',
          GOOGLE_GEMINI_BASE_URL: model.url,
          AMBIENT_AGENT: 'codex',
        }),
    ...options.env,
  }
}

/** Below those that the kernel hands out by itself: nobody is given one of these before the stack takes it. */
async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(10_000, 30_000)
    if (await isFree(port)) ports.add(port)
  }
  return [...ports]
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return true
  } catch {
    return false // Somebody has it.
  } finally {
    server.close()
  }
}

/** Until it says that it is ready; its death ends the wait. A health check alone may be answered by a predecessor's server. */
async function ready(supervisor: ChildProcess, log: string, from: number): Promise<void> {
  const deadline = Date.now() + 300_000
  while (Date.now() < deadline) {
    const told = (await readFile(log, 'utf8')).slice(from)
    if (told.includes('is ready after')) return
    if (supervisor.exitCode !== null) throw new Error(`ambient start ended: ${told}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`not ready in time: ${await readFile(log, 'utf8')}`)
}

/** Until the server answers at all: a caller's own retries are not what is tested here. */
async function listening(url: string): Promise<void> {
  while (
    !(await fetch(url).then(
      () => true,
      () => false,
    ))
  )
    await new Promise((resolve) => setTimeout(resolve, 50))
}

/** Sandboxes that are kept for a follow-up outlive their host. */
export async function endKeptSandboxes(data: string): Promise<void> {
  for (const label of ['ambient.directory', 'ambient.spare-of']) {
    const filter = `label=${label}=${join(data, 'runs')}`
    const { stdout } = await execa('docker', ['ps', '-aq', '--filter', filter], { reject: false })
    const containers = stdout.split('\n').filter((id) => id !== '')
    // Networks that nobody has joined end by themselves in this moment.
    const reject = label === 'ambient.directory'
    if (containers.length > 0) await execa('docker', ['rm', '-f', ...containers], { reject })
  }
  const direct = await createDirectHost({
    runsDirectory: join(data, 'runs'),
    nodePath: process.execPath,
    log: pino({ level: 'silent' }),
  })
  for (const { runId } of await direct.list()) {
    await direct.stop(runId)
    // Nothing is to be removed through it.
    await unmountAll(join(data, 'runs', runId))
  }
}

/** Each part's process is remembered in the data: by the supervisor, and Postgres's by itself. */
async function partPid(data: string, part: Part): Promise<number> {
  if (part === 'postgres') {
    const [pid] = (await readFile(join(data, 'postgres', 'cluster', 'postmaster.pid'), 'utf8')).split('\n')
    return Number(pid)
  }
  const file = part === 'temporal' ? join(data, 'temporal', 'process.json') : join(data, 'parts', `${part}.json`)
  const { pid } = JSON.parse(await readFile(file, 'utf8')) as { pid: number }
  return pid
}

function createStack(made: {
  url: string
  key: string
  data: string
  model: ModelServer
  env: Record<string, string>
  options: StackOptions
  supervisor: ChildProcess
}): Stack {
  const { url, key, data, model, env, options } = made
  let { supervisor } = made
  const end = async (signal: NodeJS.Signals) => {
    if (supervisor.exitCode !== null || supervisor.signalCode !== null) return
    const ended = new Promise((resolve) => supervisor.once('exit', resolve))
    supervisor.kill(signal)
    await ended
  }

  async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json')
    return { status: response.status, headers: response.headers, body: (isJson ? JSON.parse(text) : text) as T }
  }

  async function* stream(runId: string, signal?: AbortSignal): AsyncGenerator<RunEvent> {
    let last = 0
    while (!signal?.aborted) {
      try {
        const response = await fetch(`${url}/api/v1/agent/runs/${runId}/events?follow=always`, {
          headers: { authorization: `Bearer ${key}`, accept: 'text/event-stream', 'last-event-id': String(last) },
          ...(signal ? { signal } : {}),
        })
        if (!response.ok) throw new Error(`${response.status}`)
        const waiting: RunEvent[] = []
        const parser = createParser({
          onEvent: (message) => {
            if (message.id) waiting.push(JSON.parse(message.data) as RunEvent)
          },
        })
        for await (const chunk of (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
          parser.feed(chunk)
          for (const event of waiting.splice(0)) {
            last = event.sequence
            yield event
          }
        }
      } catch {
        // The server is being killed and started again: the stream is read on from the last event.
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    }
  }

  const stack: Stack = {
    url,
    key,
    data,
    hostKind: options.host,
    model,
    env,
    call,
    stream,
    async start(body) {
      const { status, body: answer } = await call<{ run_id: string }>('POST', '/api/v1/agent/runs', body)
      if (status !== 200) throw new Error(`POST /agent/runs: ${status} ${JSON.stringify(answer)}`)
      return answer.run_id
    },
    item: async (runId) => (await call<RunItem>('GET', `/api/v1/agent/runs/${runId}`)).body,
    async until(runId, state, { execution = 1 } = {}) {
      const event = await stack.untilEvent(runId, (each) => {
        if (each.kind !== 'state' || each.execution < execution) return false
        const now = each.data.state as RunState
        return now === state || isTerminal(now)
      })
      if (event.data.state !== state) throw new Error(`the run ended as ${JSON.stringify(event.data)}`)
      return stack.item(runId)
    },
    async untilEvent(runId, fits) {
      const seen: RunEvent[] = []
      const timeout = AbortSignal.timeout(120_000)
      const wait = new Promise<never>((_, reject) => {
        timeout.onabort = () =>
          reject(
            new Error(
              `no such event of ${runId}: ${seen
                .slice(-15)
                .map((each) => JSON.stringify(each))
                .join('\n')}`,
            ),
          )
      })
      const find = async () => {
        for await (const event of stream(runId)) {
          seen.push(event)
          if (fits(event)) return event
        }
        throw new Error('the stream ended')
      }
      return Promise.race([find(), wait])
    },
    async events(runId) {
      const all: RunEvent[] = []
      for (;;) {
        const after = all.at(-1)?.sequence ?? 0
        const { body } = await call<{ events: RunEvent[]; page_info: { has_next_page: boolean } }>(
          'GET',
          `/api/v1/agent/runs/${runId}/events?after=${after}&limit=500`,
        )
        all.push(...body.events)
        if (!body.page_info.has_next_page) return all
      }
    },
    pid: (part) => partPid(data, part),
    async kill(part) {
      const before = await partPid(data, part)
      process.kill(before, 'SIGKILL')
      for (;;) {
        const now = await partPid(data, part).catch(() => before)
        if (now !== before) break
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      if (part === 'server') await listening(`${url}/healthz`)
    },
    log: () => readFile(join(data, 'start.log'), 'utf8'),
    end,
    async startAgain() {
      supervisor = await launch(env, data)
    },
    async stop({ keepData } = { keepData: false }) {
      await end('SIGTERM')
      await model.close()
      // Sandboxes that are kept for a follow-up outlive the stack, as they should; here nobody will follow up.
      await endKeptSandboxes(data)
      if (!keepData) await rm(data, { recursive: true, force: true })
    },
  }
  return stack
}
