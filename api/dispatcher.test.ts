import { TestWorkflowEnvironment } from '@temporalio/testing'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createGateway, type Gateway } from '../secrets/gateway/gateway.ts'
import { acceptMail } from '../store/runs/mail.ts'
import { recordState } from '../store/runs/states.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { temporalBinary } from '../test/support/temporal.ts'
import { MAIL_SIGNAL, ORCHESTRATOR_QUEUE, RUN_WORKFLOW } from '../workflows/contract.ts'

let postgres: TestPostgres
let databaseUrl: string
let temporal: TestWorkflowEnvironment
let gateway: Gateway
let api: TestApi
beforeAll(async () => {
  postgres = await startTestPostgres()
  databaseUrl = await postgres.databaseUrl()
  temporal = await TestWorkflowEnvironment.createLocal({
    server: { executable: { type: 'existing-path', path: temporalBinary() }, log: { format: 'json', level: 'error' } },
  })
  const nowhere = { baseUrl: 'http://127.0.0.1:9', apiKey: null }
  gateway = createGateway({
    authorize: async () => null,
    route: async () => ({ target: nowhere, priced: true }),
    log: pino({ level: 'silent' }),
  })
  const port = await gateway.listen(0, '127.0.0.1')
  api = await startTestApi({ databaseUrl, client: temporal.client, env: { AMBIENT_GATEWAY_PORT: String(port) } })
})
afterAll(async () => {
  await api?.close()
  await gateway?.close(0)
  await temporal?.teardown()
  await postgres.stop()
})

/** What Temporal has been told about a run: each signal in order. */
async function signals(runId: string): Promise<unknown[]> {
  const { events } = await temporal.client.workflow.getHandle(runId).fetchHistory()
  return (events ?? []).flatMap((event) => {
    const attributes = event.workflowExecutionSignaledEventAttributes
    if (attributes?.signalName !== MAIL_SIGNAL) return []
    const [payload] = attributes.input?.payloads ?? []
    return [JSON.parse(Buffer.from(payload?.data ?? []).toString())]
  })
}

/** Until everything written for a run has been handed over. */
async function handedOver(runId: string): Promise<void> {
  await expect
    .poll(
      async () => {
        const rows = await api.db.selectFrom('mail').select('dispatched_at').where('run_id', '=', runId).execute()
        return rows.every((row) => row.dispatched_at !== null)
      },
      { interval: 50 },
    )
    .toBe(true)
}
const start = async (target = api) => (await target.call('POST', '/agent/runs', { prompt: 'secret words' })).body.run_id
const prompt = { id: expect.any(String), kind: 'prompt', delivery: 'queue' }

test('the server is healthy once all parts are there, and says which are not', async () => {
  const health = async () => {
    const response = await fetch(`${api.url}/healthz`)
    return { status: response.status, body: (await response.json()) as { checks: Record<string, string> } }
  }
  expect(await health()).toMatchObject({
    status: 503,
    body: {
      status: 'unavailable',
      checks: {
        database: 'ok',
        temporal: 'ok',
        orchestrator: expect.stringContaining('no'),
        host: expect.stringContaining('no'),
      },
    },
  })
  const polling = new AbortController()
  const polled = temporal.client.connection
    .withAbortSignal(polling.signal, () =>
      temporal.client.connection.withDeadline(Date.now() + 30_000, () =>
        temporal.client.workflowService.pollWorkflowTaskQueue({
          namespace: 'default',
          taskQueue: { name: ORCHESTRATOR_QUEUE, kind: 1 },
          identity: 'a worker',
        }),
      ),
    )
    .catch(() => null)
  await api.host('PUT', '/hosts/machine-1', {
    pool: 'default',
    kind: 'direct',
    version: '1',
    capacity: 1,
    in_use: 0,
  })
  await expect
    .poll(async () => (await health()).body.checks)
    .toEqual({
      database: 'ok',
      host: 'ok',
      temporal: 'ok',
      orchestrator: 'ok',
      gateway: 'ok',
    })
  expect((await health()).status).toBe(200)
  polling.abort()
  await polled
  const away = await startTestApi({ databaseUrl, env: { AMBIENT_GATEWAY_PORT: '9' } })
  const response = await fetch(`${away.url}/healthz`)
  expect(response.status).toBe(503)
  expect(await response.json()).toMatchObject({ checks: { gateway: expect.stringContaining('no model gateway') } })
  await away.close()
})

test('a run becomes a workflow of its own id, and its mail arrives in order without its texts', async () => {
  const runId = await start()
  await api.call('POST', `/agent/runs/${runId}/followups`, { message: 'secret too', delivery: 'interrupt' })
  await api.call('POST', `/agent/runs/${runId}/cancel`)
  await handedOver(runId)
  const description = await temporal.client.workflow.getHandle(runId).describe()
  expect(description).toMatchObject({ type: RUN_WORKFLOW, taskQueue: ORCHESTRATOR_QUEUE, workflowId: runId })
  const cancel = { id: expect.any(String), kind: 'cancel', reason: 'Cancelled on request.' }
  expect(await signals(runId)).toEqual([prompt, { ...prompt, delivery: 'interrupt' }, cancel])
  const { events } = await temporal.client.workflow.getHandle(runId).fetchHistory()
  expect(Buffer.from(JSON.stringify(events)).toString()).not.toContain('secret')
})

test('fifty runs started at once become fifty workflows', async () => {
  const ids = await Promise.all(Array.from({ length: 50 }, () => start()))
  await Promise.all(ids.map(handedOver))
  for (const id of ids) expect(await signals(id)).toEqual([prompt])
})

test('what was accepted while Temporal was away is handed over when it is back, in order', async () => {
  const away = await startTestApi({ databaseUrl, env: { AMBIENT_GATEWAY_PORT: '9' } })
  const runId = await start(away)
  const { status } = await away.call('POST', `/agent/runs/${runId}/cancel`)
  expect(status).toBe(200)
  await away.close()
  // The other server finds what was left lying.
  await handedOver(runId)
  expect((await signals(runId)).map((mail) => (mail as { kind: string }).kind)).toEqual(['prompt', 'cancel'])
})

test('a follow-up on a run that has ended starts its workflow again', async () => {
  const runId = await start()
  await handedOver(runId)
  const [first] = (await signals(runId)) as { id: string }[]
  await acceptMail(api.db, { runId, key: 'w', ids: [first?.id ?? ''] })
  await recordState(api.db, { runId, execution: 1, key: 'end', state: 'SUCCEEDED' })
  const handle = temporal.client.workflow.getHandle(runId)
  const before = (await handle.describe()).runId
  await handle.terminate()
  await api.call('POST', `/agent/runs/${runId}/followups`, { message: 'more' })
  await handedOver(runId)
  const after = await handle.describe()
  expect(after.runId).not.toBe(before)
  expect(after.status.name).toBe('RUNNING')
})

test('an answer to a run whose workflow is gone is not tried for ever', async () => {
  const runId = await start()
  await handedOver(runId)
  const question = { questionId: 'q', title: 'May I?', options: [{ optionId: 'y', name: 'Yes', kind: 'allow_once' }] }
  await recordState(api.db, { runId, execution: 1, key: 'b', state: 'BLOCKED', question })
  await temporal.client.workflow.getHandle(runId).terminate()
  expect((await api.call('POST', `/agent/runs/${runId}/answers`, { option_id: 'y' })).status).toBe(200)
  await handedOver(runId)
})
