// Every agent, at the end of its run's budget: real agents and a real gateway, with a scripted model behind it.
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSession } from '../../agents/acp/session.ts'
import { type LocalProcess, startProcess } from '../../agents/acp/testing/local-process.ts'
import { memoryClaims, memoryTranscript } from '../../agents/acp/testing/memory.ts'
import { runTurn } from '../../agents/acp/turn.ts'
import type { AcpAgent } from '../../agents/agent.ts'
import { agents } from '../../agents/index.ts'
import { installAgent } from '../../agents/install.ts'
import { loadConfig, moneyRules, root } from '../../config.ts'
import { loadCatalogue } from '../../secrets/gateway/catalogue.ts'
import { createGateway, type Gateway } from '../../secrets/gateway/gateway.ts'
import { createModelCalls, type ModelCalls } from '../../secrets/gateway/model-calls.ts'
import type { Db } from '../../store/database.ts'
import { admitCall } from '../../store/money/admit.ts'
import { insertBudget, raiseRunBudget } from '../../store/money/budgets.ts'
import { chargeCall } from '../../store/money/charge.ts'
import { stopOfTurn } from '../../store/money/stops.ts'
import { acceptMail } from '../../store/runs/mail.ts'
import { type ModelServer, script, startModelServer } from '../support/model-server.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { givenRun } from '../support/runs.ts'

const cache = process.env.AMBIENT_TEST_CACHE ?? join(root, '.ambient', 'test-cache')
const TOKEN = 'run-credential'
const operator = { type: 'operator', uid: 'operator' } as const
const acpAgents = Object.values(agents).filter((agent): agent is AcpAgent => agent.protocol === 'acp')

/** An agent that hears of it and tries on would keep its run going: it is to give up at once, and not after its retries. */
const AT_ONCE_MS = 30_000
const free = { input: 0, cacheRead: 0, cacheWrite: 0, output: 0 }

let postgres: TestPostgres
let db: Db
let model: ModelServer
beforeAll(async () => {
  postgres = await startTestPostgres()
  db = (await postgres.database()).db
  model = await startModelServer()
})
afterAll(async () => {
  await model?.close()
  await postgres?.stop()
})

// At the same time: most of it is waiting for programs to start, and for Codex's own tries.
describe.concurrent.each(acpAgents)('$title', (agent) => {
  let directory: string
  let gateway: Gateway
  let calls: ModelCalls
  let agentProcess: LocalProcess | null = null
  let runId: string
  let messageId: string
  let price = 0

  beforeAll(async () => {
    const rules = moneyRules(loadConfig({}))
    const given = await givenRun(db)
    runId = given.runId
    messageId = given.messageId
    await acceptMail(db, { runId, key: 'w', ids: [messageId] })
    calls = createModelCalls({
      db,
      models: loadCatalogue(loadConfig({})),
      rules: async () => ({ allow: [], deny: [] }),
      admit: (run, call) => admitCall(db, rules, run, call),
      // Whatever the models are called, they cost the same: first nothing, for agents ask for titles and the like as well.
      charge: (tx, call) => chargeCall(tx, rules, { ...call, cost: { ...free, input: price } }),
      log: pino({ level: 'silent' }),
    })
    const target = { baseUrl: model.url, apiKey: null }
    gateway = createGateway({
      authorize: async (token) => (token === TOKEN ? { runId, execution: 1, team: 'default' } : null),
      route: async (_holder, provider) => ({
        target: provider === 'openai' ? { ...target, baseUrl: `${model.url}/v1` } : target,
        priced: true,
      }),
      hooks: calls,
      log: pino({ level: 'silent' }),
    })
    directory = await mkdtemp(join(tmpdir(), `budget-${agent.name}-`))
  })

  afterAll(async () => {
    await agentProcess?.kill()
    await gateway?.close(0)
    calls?.close()
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  })

  test('stops at once at the end of its budget, and goes on in its session when it is raised', async () => {
    const port = await gateway.listen(0, '127.0.0.1')
    const [home, workspace] = [join(directory, 'home'), join(directory, 'workspace')]
    for (const path of [home, workspace, join(directory, 'tmp')]) await mkdir(path)
    const launch = agent.launch({
      home,
      workspace,
      toolkit: await installAgent(agent, { directory: join(cache, 'agents') }),
      node: process.execPath,
      gatewayUrl: `http://127.0.0.1:${port}/${agent.provider}`,
      gatewayToken: TOKEN,
      model: null,
      reasoningLevel: null,
      policy: 'allow',
      rules: null,
      mcpServers: [],
      isolated: false,
      runsAsRoot: process.getuid?.() === 0,
    })
    for (const file of launch.files) {
      await mkdir(dirname(join(home, file.path)), { recursive: true })
      await writeFile(join(home, file.path), file.content)
    }
    agentProcess = startProcess({
      name: 'agent-1',
      directory,
      command: launch.command,
      env: {
        PATH: process.env.PATH ?? '',
        LANG: 'C.UTF-8',
        HOME: home,
        TMPDIR: join(directory, 'tmp'),
        ...launch.env,
      },
      cwd: workspace,
    })
    const { journal } = agentProcess
    const claims = memoryClaims()
    const transcript = memoryTranscript()
    const opened = await openSession({
      journal,
      claims,
      cwd: workspace,
      resumeSessionId: null,
      quirks: agent.quirks,
      policy: 'allow',
      mcpServers: async () => [],
      storedLine: 0,
      record: transcript.record,
      signal: new AbortController().signal,
    })
    const never = new AbortController().signal
    const say = (text: string, id: string, previousMessageId: string | null) =>
      runTurn({
        journal,
        claims,
        sessionId: opened.sessionId,
        cwd: workspace,
        quirks: agent.quirks,
        policy: 'allow',
        turn: { kind: 'prompt', messageId: id, text, previousMessageId },
        storedLine: transcript.storedLine(journal.name),
        record: transcript.record,
        signals: { interrupt: never, detach: never },
      })

    const budget = { team: 'default', scope: 'run', thing: runId, period: 'total' } as const
    await db.transaction().execute((tx) => insertBudget(tx, budget, { microUsd: 1_000 }, operator))
    const gate = `gate-${agent.name}`
    const work = say(
      script(`work-${agent.name}`, [
        { text: 'One.', waitFor: gate, shell: 'echo x > one.txt' },
        { text: 'Two.', shell: 'echo x > two.txt' },
        { text: 'Done.' },
      ]),
      messageId,
      null,
    )
    await model.waitForRequest(({ scriptId }) => scriptId === `work-${agent.name}`, 60_000)
    const began = Date.now()
    price = 1_000
    model.release(gate)
    const outcome = await work
    const took = Date.now() - began
    expect(took).toBeLessThan(AT_ONCE_MS)
    expect(outcome.kind).not.toBe('question')
    expect(model.steps(`work-${agent.name}`)).toEqual([0])
    expect(await stopOfTurn(db, runId)).toMatchObject({ title: expect.stringContaining('is used up') })

    const rules = moneyRules(loadConfig({}))
    const raised = { team: 'default', scope: 'run', runId } as const
    await db.transaction().execute((tx) => raiseRunBudget(tx, rules, raised, 1_000_000, operator))
    const next = script(`next-${agent.name}`, [
      { text: 'On it again.', shell: 'echo x > three.txt' },
      { text: 'Done.' },
    ])
    expect(await say(next, randomUUID(), messageId)).toEqual({ kind: 'ended', stopReason: 'end_turn' })
    // Other agents ask the same server meanwhile.
    const own = model.requests.filter(({ scriptId }) => scriptId === `next-${agent.name}`)
    expect(own.at(-1)?.history).toEqual([`work-${agent.name}`, `next-${agent.name}`])
  })
})
