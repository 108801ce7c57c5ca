// The books of the gateway, held against a model server that counts for itself: many calls at once, and gateways that are killed.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { loadConfig, moneyRules } from '../config.ts'
import { type ModelCallStart, noTokens } from '../domain/models/call.ts'
import { createModelCalls } from '../secrets/gateway/model-calls.ts'
import type { Database } from '../store/database.ts'
import { chargeCall } from '../store/money/charge.ts'
import { issueCredentials } from '../store/runs/credentials.ts'
import { type ModelServer, script, startModelServer } from './support/model-server.ts'
import { startTestPostgres, type TestPostgres } from './support/postgres.ts'
import { givenRun } from './support/runs.ts'

const CALLS = 40
const FORMATS = ['anthropic', 'chat', 'responses', 'gemini'] as const
type Format = (typeof FORMATS)[number]

let postgres: TestPostgres
let database: Database
let model: ModelServer
let directory: string
const gateways: ChildProcess[] = []

beforeAll(async () => {
  postgres = await startTestPostgres()
  database = await postgres.database()
  model = await startModelServer()
  directory = await mkdtemp(join(tmpdir(), 'ambient-calls-'))
  const models = Array.from({ length: CALLS }, (_, index) => ({
    id: nameOf(index),
    provider: providerOf(formatOf(index)),
    prices: { input: 2, output: 10 },
  }))
  await writeFile(join(directory, 'models.json'), JSON.stringify({ models }))
})
afterAll(async () => {
  for (const gateway of gateways) gateway.kill('SIGKILL')
  await model?.close()
  await postgres?.stop()
  await rm(directory, { recursive: true, force: true })
})

const nameOf = (index: number) => `counted-${index}`
const formatOf = (index: number): Format => FORMATS[index % FORMATS.length] ?? 'chat'
const providerOf = (format: Format) => (format === 'anthropic' || format === 'gemini' ? format : 'openai')
const usageOf = (index: number) => ({ inputTokens: 1000 + index, outputTokens: 100 + 2 * index })

/** The gateway as it is started in earnest, in a process of its own. @returns where it is. */
async function startGateway(): Promise<{ url: string; process: ChildProcess }> {
  const free = createServer()
  await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve))
  const { port } = free.address() as AddressInfo
  await new Promise((resolve) => free.close(resolve))
  const child = spawn(process.execPath, [join(import.meta.dirname, '..', 'cli', 'main.ts'), 'gateway'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: database.url,
      AMBIENT_DATA: directory,
      AMBIENT_GATEWAY_PORT: String(port),
      AMBIENT_MODELS_FILE: join(directory, 'models.json'),
      AMBIENT_LOG_FORMAT: 'json',
      ANTHROPIC_API_KEY: 'real',
      ANTHROPIC_BASE_URL: model.url,
      OPENAI_API_KEY: 'real',
      OPENAI_BASE_URL: `${model.url}/v1`,
      GEMINI_API_KEY: 'real',
      GOOGLE_GEMINI_BASE_URL: model.url,
    },
  })
  gateways.push(child)
  for await (const chunk of child.stdout) if (String(chunk).includes('listening')) break
  child.stdout.resume()
  return { url: `http://127.0.0.1:${port}`, process: child }
}

interface Asked {
  index: number
  /** The agent has the whole answer. */
  isWhole: boolean
}

/** As an agent asks. Never rejects. */
async function ask(gateway: string, token: string, index: number, waitFor?: string): Promise<Asked> {
  const format = formatOf(index)
  const name = nameOf(index)
  const prompt = script(name, [
    { text: 'some words of an answer', chunks: 6, usage: usageOf(index), ...(waitFor && { waitFor }) },
  ])
  const [path, body] = {
    anthropic: ['/anthropic/v1/messages', { model: name, stream: true, messages: [{ role: 'user', content: prompt }] }],
    chat: ['/openai/chat/completions', { model: name, stream: true, messages: [{ role: 'user', content: prompt }] }],
    responses: ['/openai/responses', { model: name, stream: true, input: prompt }],
    gemini: [
      `/gemini/v1beta/models/${name}:streamGenerateContent?alt=sse`,
      { contents: [{ role: 'user', parts: [{ text: prompt }] }] },
    ],
  }[format] as [string, object]
  try {
    const response = await fetch(gateway + path, {
      method: 'POST',
      headers: { 'x-api-key': token, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    await response.text()
    return { index, isWhole: response.status === 200 }
  } catch {
    return { index, isWhole: false }
  }
}

test('every call is counted and charged once, as the model server counts it, with gateways killed in the middle', async () => {
  const { runId } = await givenRun(database.db)
  const { token } = await issueCredentials(database.db, { runId, execution: 1 })
  const [first, second] = await Promise.all([startGateway(), startGateway()])
  const all = Array.from({ length: CALLS }, (_, index) => index)
  const isHeld = (index: number) => index % 5 === 0
  // Every fifth waits in the middle of its answer; half of all go through the gateway that is killed.
  const asked = all.map((index) =>
    ask((index % 2 === 0 ? first : second).url, token, index, isHeld(index) ? `gate-${index}` : undefined),
  )
  await Promise.all(all.filter(isHeld).map((index) => model.waitUntilHeld(`gate-${index}`)))
  // What is known of an answer is written down when it begins.
  await expect
    .poll(async () => {
      const noted = await database.db
        .selectFrom('model_calls')
        .select('model')
        .where('input_tokens', 'is not', null)
        .execute()
      return all.filter(isHeld).every((index) => noted.some((row) => row.model === nameOf(index)))
    })
    .toBe(true)
  const dead = once(first.process, 'exit')
  first.process.kill('SIGKILL')
  await dead
  for (const index of all.filter(isHeld)) model.release(`gate-${index}`)
  const answers = await Promise.all(asked)

  // Two others find at the same time what the dead one has left.
  const money = moneyRules(loadConfig({}))
  const others = [1, 2].map(() =>
    createModelCalls({
      db: database.db,
      models: [],
      rules: async () => ({ allow: [], deny: [] }),
      admit: async () => null,
      charge: (tx, call) => chargeCall(tx, money, call),
      log: pino({ level: 'silent' }),
      silentMs: 0,
    }),
  )
  const broken = await Promise.all(others.map((each) => each.sweep()))
  for (const each of others) each.close()

  const rows = await database.db.selectFrom('model_calls').selectAll().execute()
  expect(rows.every(({ state }) => state !== 'open')).toBe(true)
  const found = broken.reduce((sum, count) => sum + count, 0)
  expect(found).toBeGreaterThan(0)
  expect(rows.filter(({ state }) => state === 'broken')).toHaveLength(found)
  const rowOf = (index: number) => rows.filter((row) => row.model === nameOf(index))
  for (const { index, isWhole } of answers) {
    const [row, ...more] = rowOf(index)
    expect(more).toEqual([])
    // What an agent has got is written down, to the token.
    if (isWhole) expect(row?.state).toBe('settled')
    const { inputTokens, outputTokens } = usageOf(index)
    if (row?.state === 'settled' && row.complete)
      expect(row).toMatchObject({
        input_tokens: inputTokens,
        output_tokens: outputTokens,
        input_cost: 2 * inputTokens,
        output_cost: 10 * outputTokens,
        estimated: false,
      })
    // Of a broken one, what was told before the gateway died; of one whose answer had not begun, an estimate.
    if (row?.state === 'broken') {
      expect(row.estimated).toBe(true)
      if (isHeld(index) && formatOf(index) === 'anthropic') expect(row.input_tokens).toBe(inputTokens)
    }
  }
  // The model server's own count: no request that it has seen is without its row.
  expect(new Set(model.requests.map((request) => request.model))).toEqual(new Set(rows.map((row) => row.model)))
  const survivors = answers.filter(({ index, isWhole }) => isWhole && index % 2 === 1)
  expect(survivors).toHaveLength(CALLS / 2)
  const sum = (of: (index: number) => number) => survivors.reduce((total, { index }) => total + of(index), 0)
  const settled = rows.filter((row) => survivors.some(({ index }) => row.model === nameOf(index)))
  expect(settled.reduce((total, row) => total + (row.output_tokens ?? 0), 0)).toBe(
    sum((index) => usageOf(index).outputTokens),
  )

  // The ledger has each call once, and the same sums.
  const entries = await database.db
    .selectFrom('ledger')
    .select(['key', 'micro_usd'])
    .where('run_id', '=', runId)
    .execute()
  expect(entries.map(({ key }) => key).sort()).toEqual(rows.map(({ id }) => `call/${id}`).sort())
  const cost = rows.reduce((total, row) => total + (row.input_cost ?? 0) + (row.output_cost ?? 0), 0)
  expect(entries.reduce((total, entry) => total - entry.micro_usd, 0)).toBe(cost)
})

test('a call that ended while the database was away is settled once that is back', async () => {
  const { runId } = await givenRun(database.db)
  const holder = { runId, execution: 1, team: 'default' }
  const charged: string[] = []
  let isAway = true
  const calls = createModelCalls({
    db: database.db,
    models: [],
    rules: async () => ({ allow: [], deny: [] }),
    admit: async () => null,
    async charge(_tx, { id }) {
      if (!isAway) return void charged.push(id)
      // Longer than an answer waits.
      vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 60_000)
      throw new Error('away')
    },
    log: pino({ level: 'silent' }),
  })
  const call: ModelCallStart = {
    ...{ id: randomUUID(), provider: 'openai', endpoint: null, model: 'late', method: 'POST', path: '/responses' },
    ...{ known: true, priced: true, free: false, requestBytes: 10 },
  }
  try {
    await calls.admit(holder, call)
    const end = { status: 200, complete: true, usage: { ...noTokens, input: 5 }, estimated: false }
    await expect(calls.settle(holder, call, end)).rejects.toThrow('away')
    isAway = false
    await calls.sweep()
    await calls.sweep()
    expect(charged).toEqual([call.id])
    const row = await database.db.selectFrom('model_calls').selectAll().where('id', '=', call.id).executeTakeFirst()
    expect(row).toMatchObject({ state: 'settled', input_tokens: 5 })
  } finally {
    vi.restoreAllMocks()
    calls.close()
  }
})
