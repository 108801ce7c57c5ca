import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadConfig, moneyRules } from '../../config.ts'
import { createApiKey } from '../../store/accounts/api-keys.ts'
import { personByEmail } from '../../store/accounts/people.ts'
import { addMember } from '../../store/accounts/teams.ts'
import { readFigures } from '../../store/figures.ts'
import { admitCall } from '../../store/money/admit.ts'
import { chargeCall } from '../../store/money/charge.ts'
import { acceptMail } from '../../store/runs/mail.ts'
import { recordState } from '../../store/runs/states.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'

let api: TestApi
let enforcing: TestApi
beforeAll(async () => {
  api = await startTestApi()
  enforcing = await startTestApi({ env: { AMBIENT_CREDITS: 'enforce' } })
})
afterAll(() => Promise.all([api?.close(), enforcing?.close()]))

const rules = moneyRules(loadConfig({}))
const enforced = moneyRules(loadConfig({ AMBIENT_CREDITS: 'enforce' }))

const spend = (on: TestApi, runId: string, microUsd: number) =>
  on.db.transaction().execute((tx) =>
    chargeCall(tx, rules, {
      id: randomUUID(),
      runId,
      execution: 1,
      team: 'default',
      provider: 'anthropic',
      endpoint: null,
      model: 'claude-sonnet-5-5',
      state: 'settled',
      status: 200,
      complete: true,
      estimated: false,
      usage: { input: 10, cacheRead: 0, cacheWrite: 0, cacheWriteHour: 0, output: 2, reasoning: 0 },
      cost: { input: microUsd, cacheRead: 0, cacheWrite: 0, output: 0 },
      startedAt: new Date(),
      endedAt: new Date(),
    }),
  )

const started = async (on: TestApi, config: object = {}, more: object = {}) => {
  const { status, body } = await on.call('POST', '/agent/runs', {
    prompt: 'Do it',
    config: { harness: { type: 'command', command: ['true'] }, ...config },
    ...more,
  })
  return { status, body, runId: String(body.run_id) }
}

/** Its first message is worked on, and its next call is refused: the run is BLOCKED. */
async function paused(on: TestApi, runId: string, by = rules): Promise<string> {
  const mail = await on.db.selectFrom('mail').select('id').where('run_id', '=', runId).executeTakeFirstOrThrow()
  await acceptMail(on.db, { runId, key: 'w', ids: [mail.id] })
  await on.hold(runId)
  expect(await admitCall(on.db, by, { runId, execution: 1 }, { free: false })).toMatchObject({ kind: 'budget' })
  const { body } = await on.host('GET', `/runs/${runId}/executions/1/asked`)
  expect(body.stopped).toMatchObject({ questionId: expect.any(String), options: [] })
  await recordState(on.db, { runId, execution: 1, key: 'b', state: 'BLOCKED', question: body.stopped })
  return body.stopped.questionId
}

const prompts = (on: TestApi, runId: string) =>
  on.db.selectFrom('mail').select('body').where('run_id', '=', runId).where('kind', '=', 'prompt').execute()

test('a newcomer starts without any grant, and sees what was spent', async () => {
  const { status, runId } = await started(api)
  expect(status).toBe(200)
  await spend(api, runId, 250_000)
  expect((await api.call('GET', '/agent/credits')).body).toMatchObject({
    balance: { credits: -25, usd: -0.25 },
    is_enforced: false,
    month: { inference: { usd: 0.25 }, compute: { usd: 0 } },
    your_month: { total: { credits: 25 } },
  })
  const page = (await api.call('GET', `/agent/ledger?run_id=${runId}&kind=inference`)).body
  expect(page.entries).toMatchObject([
    { kind: 'inference', credits: -25, usd: -0.25, run_id: runId, model: 'claude-sonnet-5-5', tokens: { output: 2 } },
  ])
  expect((await api.call('GET', `/agent/runs/${runId}`)).body.request_usage).toMatchObject({ inference_cost: 25 })
  expect((await api.call('GET', `/agent/conversations/${runId}`)).body.request_usage).toMatchObject({
    total_tokens: 12,
  })
  expect((await api.call('GET', '/agent/statistics')).body.total).toMatchObject({ cost_usd: 0.25, total_tokens: 12 })
})

test('the ledger is read page by page in both orders, without a hole', async () => {
  const { runId } = await started(api)
  await Promise.all([1, 2, 3, 4, 5].map((cost) => spend(api, runId, cost)))
  for (const order of ['asc', 'desc']) {
    const seen: number[] = []
    let cursor = ''
    do {
      const query = `run_id=${runId}&limit=2&sort_order=${order}${cursor && `&cursor=${cursor}`}`
      const { entries, page_info: info } = (await api.call('GET', `/agent/ledger?${query}`)).body
      seen.push(...entries.map((entry: { position: number }) => entry.position))
      cursor = info.next_cursor ?? ''
    } while (cursor !== '')
    expect(seen).toHaveLength(5)
    expect(seen).toEqual(seen.toSorted((one, other) => (order === 'asc' ? one - other : other - one)))
  }
  expect((await api.call('GET', '/agent/ledger?kind=gift')).status).toBe(400)
})

test('a run whose budget is used up is BLOCKED, takes no answer, and goes on when it is raised', async () => {
  const { runId } = await started(api, { budget: { credits: 1 } })
  expect((await api.call('GET', `/agent/runs/${runId}`)).body.budgets).toEqual([
    { scope: 'run', limit_usd: 0.01, spent_usd: 0, percent: 0 },
  ])
  await spend(api, runId, 10_000)
  const question = await paused(api, runId)
  const blocked = (await api.call('GET', `/agent/runs/${runId}`)).body
  expect(blocked).toMatchObject({
    state: 'BLOCKED',
    status_message: { error_code: 'budget_exceeded' },
    questions: [{ question_id: question, about: 'budget', options: [] }],
  })
  const answer = { question_id: question, option_id: 'allow' }
  const nextStep = `Raise that budget: \`ambient budgets raise ${runId} --usd N\` (POST /agent/runs/${runId}/budget).`
  expect(blocked.questions[0].next_step).toBe(nextStep)
  expect(await api.call('POST', `/agent/runs/${runId}/answers`, answer)).toMatchObject({
    status: 409,
    body: { detail: expect.stringContaining(nextStep) },
  })
  // Not yet enough: it stays where it is.
  const raise = (usd: number) => api.call('POST', `/agent/runs/${runId}/budget`, { usd })
  expect((await raise(0.01)).body).toMatchObject({ stopped: { reason: 'budget' } })
  expect(await prompts(api, runId)).toHaveLength(1)
  expect((await raise(1)).body).toMatchObject({ stopped: null, budgets: [{ scope: 'run', limit: { usd: 1 } }] })
  expect((await prompts(api, runId)).at(-1)?.body.text).toContain('Go on with your task')
  await raise(2)
  expect(await prompts(api, runId)).toHaveLength(2)
  // Over, and with nothing left to spend, it is not begun again.
  const mail = await api.db.selectFrom('mail').select('id').where('run_id', '=', runId).execute()
  await acceptMail(api.db, { runId, key: 'w', ids: mail.map(({ id }) => id) })
  await recordState(api.db, { runId, execution: 1, key: 'end', state: 'SUCCEEDED' })
  await raise(0.01)
  const more = () => api.call('POST', `/agent/runs/${runId}/followups`, { message: 'And then?' })
  expect(await more()).toMatchObject({ status: 403, body: { type: '/errors/budget-exceeded' } })
  await raise(1)
  expect((await more()).status).toBe(200)
  const { events } = (await api.call('GET', `/agent/runs/${runId}/events?kind=budget`)).body
  const told = events.map(({ data }: { data: { what: string } }) => data.what)
  expect(told).toEqual(['stopped', ...told.slice(1).map(() => 'raised')])
})

test('what is raised while the agent has not yet heard of the stop is not lost', async () => {
  const { runId } = await started(api, { tree_budget: { usd: 0.01 } })
  await spend(api, runId, 10_000)
  const mail = await api.db.selectFrom('mail').select('id').where('run_id', '=', runId).executeTakeFirstOrThrow()
  await acceptMail(api.db, { runId, key: 'w', ids: [mail.id] })
  await api.hold(runId)
  await admitCall(api.db, rules, { runId, execution: 1 }, { free: false })
  await api.call('POST', `/agent/runs/${runId}/budget`, { scope: 'tree', usd: 1 })
  // The turn ends with nothing to ask, and finds a message.
  expect((await api.host('GET', `/runs/${runId}/executions/1/asked`)).body.stopped).toBeNull()
  expect(await prompts(api, runId)).toHaveLength(2)
})

test('budgets of a team and its people are set once, changed, and lift what they stop when they go', async () => {
  const set = (body: object) => api.call('POST', '/agent/budgets', body)
  const { runId } = await givenRun(api.db, { created_by_type: 'operator', created_by: 'operator' })
  const made = await set({ scope: 'person', uid: 'operator', period: 'total', usd: 0.000001 })
  expect(made).toMatchObject({ status: 201, body: { scope: 'person', scope_uid: 'operator', is_used_up: true } })
  expect((await set({ scope: 'person', uid: 'operator', period: 'total', usd: 5 })).status).toBe(409)
  expect((await set({ scope: 'person', uid: 'nobody', usd: 5 })).status).toBe(400)
  expect((await set({ scope: 'team', usd: 5, credits: 5 })).status).toBe(400)
  // Whoever's budget is used up starts nothing.
  expect(await started(api)).toMatchObject({
    status: 403,
    body: { type: '/errors/budget-exceeded', retryable: false },
  })
  const question = await paused(api, runId)
  const asked = await api.call('POST', `/agent/runs/${runId}/answers`, { question_id: question, option_id: 'allow' })
  // Whose it is decides what helps.
  expect(asked.body.detail).toContain(`(PUT /agent/budgets/${made.body.uid})`)
  const figures = await readFigures(api.db)
  expect(figures.stopped).toContainEqual({ reason: 'budget', count: 1 })
  const { spent } = (await api.call('GET', '/agent/credits')).body
  expect(figures.charged).toEqual([
    { kind: 'inference', ...spent.inference },
    { kind: 'compute', ...spent.compute },
  ])
  expect((await api.call('GET', `/agent/runs/${runId}/budget`)).body).toMatchObject({
    stopped: { reason: 'budget' },
    budgets: [{ scope: 'person', uid: made.body.uid }],
  })
  expect((await api.call('PUT', `/agent/budgets/${made.body.uid}`, { usd: 1_000 })).body).toMatchObject({
    limit: { usd: 1_000, credits: 100_000 },
  })
  expect(await prompts(api, runId)).toHaveLength(2)
  expect((await api.call('GET', '/agent/budgets')).body.budgets).toHaveLength(1)
  expect((await api.call('DELETE', `/agent/budgets/${made.body.uid}`)).status).toBe(204)
  expect((await api.call('GET', `/agent/budgets/${made.body.uid}`)).status).toBe(404)
  expect((await started(api)).status).toBe(200)
})

test('whoever made a run raises its budget, and another member does not', async () => {
  const keyOf = async (email: string) => {
    const by = { type: 'operator', uid: 'operator' } as const
    return await api.db.transaction().execute(async (tx) => {
      const { uid } = await personByEmail(tx, { email })
      await addMember(tx, 'default', uid, 'member')
      const owner = { person: uid }
      const key = {
        owner,
        name: 'k',
        team: null,
        scope: 'run',
        expiresAt: null,
        createdBy: by,
        madeWith: null,
      } as const
      const made = await createApiKey(tx, key)
      return { uid, headers: { authorization: `Bearer ${made.key}` } }
    })
  }
  const maker = await keyOf('maker@example.org')
  const other = await keyOf('other@example.org')
  const { runId } = await givenRun(api.db, { created_by_type: 'user', created_by: maker.uid })
  const raise = (headers: Record<string, string>) =>
    api.call('POST', `/agent/runs/${runId}/budget`, { usd: 1 }, headers)
  expect((await raise(other.headers)).status).toBe(403)
  expect((await raise(maker.headers)).status).toBe(200)
  const grant = { credits: 100 }
  expect((await api.call('POST', '/agent/credits/grants', grant, maker.headers)).status).toBe(403)
})

test('where credits are enforced nothing starts with too few of them, and a grant is given once', async () => {
  const refused = await started(enforcing)
  expect(refused).toMatchObject({
    status: 403,
    body: { type: '/errors/insufficient-credits', retryable: false, detail: expect.stringContaining('needs 20') },
  })
  const key = { 'idempotency-key': randomUUID() }
  const grant = () => enforcing.call('POST', '/agent/credits/grants', { credits: 20, note: 'Welcome' }, key)
  expect(await grant()).toMatchObject({ status: 201, body: { balance: { credits: 20, usd: 0.2 } } })
  await grant()
  expect((await enforcing.call('GET', '/agent/credits')).body).toMatchObject({
    balance: { credits: 20 },
    needed_to_start: 20,
  })
  const { status, runId } = await started(enforcing)
  expect(status).toBe(200)
  await spend(enforcing, runId, 200_000)
  const question = await paused(enforcing, runId, enforced)
  expect((await enforcing.call('GET', `/agent/runs/${runId}`)).body).toMatchObject({
    status_message: { error_code: 'insufficient_credits' },
    questions: [{ question_id: question, about: 'credits' }],
  })
  expect((await started(enforcing)).status).toBe(403)
  const stopped = (await enforcing.call('GET', `/agent/runs/${runId}`)).body.questions[0]
  expect(stopped.next_step).toContain('POST /agent/credits/grants')
  const bought = { kind: 'purchase', credits: 500, usd: 5 }
  expect((await enforcing.call('POST', '/agent/credits/grants', bought)).body).toMatchObject({
    balance: { credits: 500 },
    purchased: 500,
  })
  expect((await prompts(enforcing, runId)).at(-1)?.body.text).toContain('Go on with your task')
  const { entries } = (await enforcing.call('GET', '/agent/ledger')).body
  expect(entries.map(({ kind, credits, usd }: Record<string, unknown>) => [kind, credits, usd])).toEqual([
    ['purchase', 500, 5],
    ['inference', -20, -0.2],
    ['grant', 20, 0],
  ])
})
