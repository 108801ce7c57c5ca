// What the gateway adds to a model call: to its first byte, to each event of a long stream, and to all of it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDatabase } from '../store/database.ts'
import { migrate } from '../store/migrate.ts'
import { issueCredentials } from '../store/runs/credentials.ts'
import { givenRun } from '../test/support/runs.ts'
import { freePort } from '../workers/start/ports.ts'
import { startPostgres } from '../workers/start/postgres.ts'
import { heading, median, print, quantile, spread } from './report.ts'

const FIRST_BYTES = 300
/** As large as a prompt of an agent in the middle of its work. */
const PROMPT_BYTES = 200_000
const TARGET_FIRST_MS = 10
const EVENTS = 2_000
const EVERY_MS = 2
const TARGET_EVENT_MS = 2
const FULL_EVENTS = 50_000
const ROUNDS = 5
const TARGET_FULL = 3
const TOGETHER = 32

export async function measureGateway(cleanUp: AsyncDisposableStack): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-gateway-'))
  cleanUp.defer(() => rm(directory, { recursive: true, force: true }))
  const postgres = await startPostgres({ directory, port: 0, log: () => {} })
  cleanUp.defer(() => postgres.stop())
  const database = createDatabase(postgres.url)
  cleanUp.defer(() => database.close())
  await migrate(database.db)
  const { runId } = await givenRun(database.db)
  const { token } = await issueCredentials(database.db, { runId, execution: 1 })

  const providerPort = await freePort()
  const provider = `http://127.0.0.1:${providerPort}`
  await startProgram(['bench/model-provider.ts', String(providerPort)], {}, cleanUp)
  const gatewayPort = await freePort()
  const env = {
    DATABASE_URL: postgres.url,
    AMBIENT_DATA: directory,
    AMBIENT_GATEWAY_PORT: String(gatewayPort),
    ANTHROPIC_API_KEY: 'real',
    ANTHROPIC_BASE_URL: provider,
  }
  await startProgram(['cli/main.ts', 'gateway'], env, cleanUp)
  const ways = { direct: provider, gateway: `http://127.0.0.1:${gatewayPort}/anthropic` }
  const agent = new http.Agent({ keepAlive: true })
  cleanUp.defer(() => agent.destroy())
  const ask = (way: keyof typeof ways, plan: Plan) => call(`${ways[way]}/v1/messages`, { agent, token, plan })

  heading(`The first byte of a model's answer, to a prompt of ${PROMPT_BYTES / 1000} kB, in turn`)
  const first = { direct: [] as number[], gateway: [] as number[] }
  const plan = { events: 5, everyMs: 0, prompt: PROMPT_BYTES }
  for (let at = -30; at < FIRST_BYTES; at++) {
    for (const way of ['direct', 'gateway'] as const) {
      const { firstMs } = await ask(way, plan)
      if (at >= 0) first[way].push(firstMs)
    }
  }
  print({
    name: 'baseline: the provider directly',
    value: median(first.direct),
    unit: 'ms',
    target: null,
    note: spread(first.direct),
  })
  print({
    name: 'through the gateway',
    value: median(first.gateway),
    unit: 'ms',
    target: null,
    note: spread(first.gateway),
  })
  const added = median(first.gateway) - median(first.direct)
  print({ name: 'added', value: added, unit: 'ms', target: TARGET_FIRST_MS })
  print({ name: 'ratio', value: median(first.gateway) / median(first.direct), unit: '×', target: null })

  heading(`The first byte with ${TOGETHER} calls at once`)
  const together = { direct: [] as number[], gateway: [] as number[] }
  for (let round = 0; round < 10; round++) {
    for (const way of ['direct', 'gateway'] as const) {
      const calls = await Promise.all(Array.from({ length: TOGETHER }, () => ask(way, plan)))
      if (round > 0) together[way].push(...calls.map(({ firstMs }) => firstMs))
    }
  }
  print({ name: 'baseline: the provider directly', value: median(together.direct), unit: 'ms', target: null })
  print({
    name: 'through the gateway',
    value: median(together.gateway),
    unit: 'ms',
    target: null,
    note: spread(together.gateway),
  })
  print({ name: 'ratio', value: median(together.gateway) / median(together.direct), unit: '×', target: null })

  heading(`A long stream: ${EVENTS} events, one every ${EVERY_MS} ms, each from the provider to the reader`)
  const slow = { events: EVENTS, everyMs: EVERY_MS, prompt: 1_000 }
  const [directly, through] = [await ask('direct', slow), await ask('gateway', slow)]
  print({ name: 'baseline: median', value: median(directly.delays), unit: 'ms', target: null })
  print({ name: 'through the gateway: median', value: median(through.delays), unit: 'ms', target: TARGET_EVENT_MS })
  print({ name: 'baseline: 99th percentile', value: quantile(directly.delays, 0.99), unit: 'ms', target: null })
  print({
    name: 'through the gateway: 99th percentile',
    value: quantile(through.delays, 0.99),
    unit: 'ms',
    target: null,
  })

  heading(`A long stream as fast as it comes: ${FULL_EVENTS} events, some 5 MB, in turn`)
  const full = { direct: [] as number[], gateway: [] as number[] }
  for (let round = -1; round < ROUNDS; round++) {
    for (const way of ['direct', 'gateway'] as const) {
      const { wholeMs } = await ask(way, { events: FULL_EVENTS, everyMs: 0, prompt: 1_000 })
      if (round >= 0) full[way].push(wholeMs)
    }
  }
  print({
    name: 'baseline: the provider directly',
    value: median(full.direct),
    unit: 'ms',
    target: null,
    note: spread(full.direct),
  })
  print({
    name: 'through the gateway',
    value: median(full.gateway),
    unit: 'ms',
    target: null,
    note: spread(full.gateway),
  })
  print({ name: 'ratio', value: median(full.gateway) / median(full.direct), unit: '×', target: TARGET_FULL })

  const counted = await database.db
    .selectFrom('model_calls')
    .select((of) => [of.fn.countAll<number>().as('calls'), of.fn.sum<number>('output_tokens').as('tokens')])
    .where('state', '=', 'settled')
    .executeTakeFirstOrThrow()
  print({ name: 'calls that were counted meanwhile', value: counted.calls, unit: 'calls', target: null })
}

interface Plan {
  events: number
  everyMs: number
  /** Bytes. */
  prompt: number
}

/** Times are of this process's clock, in milliseconds. */
async function call(url: string, { agent, token, plan }: { agent: http.Agent; token: string; plan: Plan }) {
  const content = 'x'.repeat(plan.prompt)
  const body = JSON.stringify({ model: 'claude-bench', stream: true, plan, messages: [{ role: 'user', content }] })
  const began = performance.now()
  const request = http.request(url, {
    method: 'POST',
    agent,
    headers: { 'x-api-key': token, 'content-length': body.length },
  })
  request.end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  if (response.statusCode !== 200) throw new Error(`${url} answers ${response.statusCode}`)
  let firstMs: number | null = null
  const delays: number[] = []
  for await (const chunk of response as AsyncIterable<Buffer>) {
    firstMs ??= performance.now() - began
    if (plan.everyMs === 0) continue
    const now = Date.now()
    for (const [, sent] of chunk.toString('latin1').matchAll(/"at":(\d+(?:\.\d+)?)/g)) delays.push(now - Number(sent))
  }
  return { firstMs: firstMs ?? Number.NaN, wholeMs: performance.now() - began, delays }
}

/** Resolves when it has said that it listens. */
async function startProgram(
  words: string[],
  env: Record<string, string>,
  cleanUp: AsyncDisposableStack,
): Promise<void> {
  const child = spawn(process.execPath, words, {
    cwd: join(import.meta.dirname, '..'),
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, ...env },
  })
  const ended = once(child, 'exit')
  cleanUp.defer(async () => {
    child.kill('SIGTERM')
    await ended
  })
  const listening = (async () => {
    for await (const chunk of child.stdout.iterator({ destroyOnReturn: false }))
      if (String(chunk).includes('listening')) return
  })()
  await Promise.race([listening, ended.then(() => Promise.reject(new Error(`${words.join(' ')} does not start`)))])
  child.stdout.resume()
}
