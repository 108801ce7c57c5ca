import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeOrchestratorActivities } from '../../activities/orchestrator.ts'
import { loadConfig } from '../../config.ts'
import type { AgentConfig } from '../../domain/run.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { executionDefaults, givenHost, givenRun } from '../../test/support/runs.ts'
import type { OrchestratorActivities, StateChange } from '../../workflows/contract.ts'
import type { Database } from '../database.ts'
import { describeChanges } from '../figures.ts'
import { runsToRemove } from '../hosts/hosts.ts'
import { FencedError } from '../locking.ts'
import { findCredential, findToolCredential, issueCredentials, issueToolCredential } from './credentials.ts'
import { readEvents } from './events.ts'
import { insertMail, promptBody } from './mail.ts'
import { answerQuestion } from './questions.ts'
import { findRun } from './runs.ts'
import { recordStates } from './states.ts'
import { readTimeline } from './timeline.ts'

let postgres: TestPostgres
let database: Database
let activities: OrchestratorActivities
beforeAll(async () => {
  postgres = await startTestPostgres()
  database = await postgres.database()
  activities = makeOrchestratorActivities({ db: database.db, config: loadConfig({}) })
  await givenHost(database.db, { id: 'host-of-default' })
  await givenHost(database.db, { id: 'host-of-gpu', pool: 'gpu' })
  for (const id of [HOST, 'host-b']) await givenHost(database.db, { id })
})
afterAll(() => postgres.stop())

const HOST = 'host-a'
const followUp = (runId: string) =>
  database.db.transaction().execute((tx) => insertMail(tx, runId, 'prompt', promptBody('more', 'queue')))
const answer = (runId: string, option: string, questionId: string | null = null) =>
  database.db.transaction().execute((tx) => answerQuestion(tx, runId, { questionId, option }))

/** A run whose first execution has begun, with a way to report its states. */
async function begunRun() {
  const { runId, messageId } = await givenRun(database.db)
  const plan = await activities.beginExecution({ runId, key: 'w/1', mail: [messageId] })
  await activities.acceptMail({ runId, key: 'w/1', ids: [messageId] })
  let changes = 0
  const report = (change: Partial<StateChange> & Pick<StateChange, 'state'>) =>
    activities.recordStates([{ runId, execution: 1, key: `1/${++changes}`, ...change }])
  return { runId, messageId, plan, report }
}

const types = async (runId: string) => (await readTimeline(database.db, runId)).map((event) => event.event_type)
const run = async (runId: string) => {
  const found = await findRun(database.db, runId)
  if (!found) throw new Error('no run')
  return found
}

test('an execution may take as long as its run says, and no longer than the settings allow', async () => {
  const planOf = async (config: AgentConfig) => {
    const { runId, messageId } = await givenRun(database.db, { config })
    return activities.beginExecution({ runId, key: 'w/1', mail: [messageId] })
  }
  expect(await planOf({ max_turn_minutes: 5, max_run_minutes: 7 })).toMatchObject({ turnMinutes: 5, runMinutes: 7 })
  const { AMBIENT_TURN_MINUTES: turnMinutes, AMBIENT_RUN_MINUTES: runMinutes } = loadConfig({})
  expect(await planOf({ max_turn_minutes: 1e6, max_run_minutes: 1e6 })).toMatchObject({ turnMinutes, runMinutes })
  expect(await planOf({ max_turn_minutes: null })).toMatchObject({ turnMinutes, runMinutes })
})

test('a run begins queued, with one event and one timeline entry', async () => {
  const { runId } = await givenRun(database.db)
  expect(await run(runId)).toMatchObject({ state: 'QUEUED', execution: 0, last_event_sequence: 1, run_time: null })
  expect(await types(runId)).toEqual(['oz_run_created'])
  const [event] = await readEvents(database.db, runId, 0, 10)
  expect(event).toMatchObject({ sequence: 1, kind: 'state', execution: 1, data: { state: 'QUEUED', execution: 1 } })
})

test('an execution is begun once per key, and only for mail that nobody has read', async () => {
  const { runId, messageId } = await givenRun(database.db, { idle_minutes: 3, pool: 'gpu' })
  const begin = (key: string, mail: string[]) => activities.beginExecution({ runId, key, mail })
  expect(await begin('w/1', [])).toBeNull()
  expect(await begin('w/1', [randomUUID()])).toBeNull()
  const plans = await Promise.all([1, 2, 3].map(() => begin('w/1', [messageId])))
  const unread = [{ id: messageId, kind: 'prompt', delivery: 'queue' }]
  const place = { pool: 'gpu', heldBy: null, admitted: true }
  const plan = { ...executionDefaults, execution: 1, idleMinutes: 3, ...place, takes: messageId, unread }
  expect(plans).toEqual([plan, plan, plan])
  expect(await begin('w/1', [messageId])).toEqual(plan)
  expect(await begin('w/2', [messageId])).toBeNull()
})

test('mail is accepted by one key; asked again, it answers the same', async () => {
  const { runId, messageId } = await givenRun(database.db)
  const second = await followUp(runId)
  const accept = (key: string, ids: string[]) => activities.acceptMail({ runId, key, ids })
  expect(await accept('a', [messageId])).toEqual([messageId])
  expect(await accept('a', [messageId])).toEqual([messageId])
  expect(await accept('b', [messageId, second])).toEqual([second])
  expect(await accept('a', [second, messageId])).toEqual([messageId])
})

test('a life is told in order, each change once however often it is recorded', async () => {
  const { runId, report } = await begunRun()
  const changes: StateChange[] = [
    { runId, execution: 1, key: 'k1', state: 'CLAIMED', timeline: 'oz_run_claimed', hostId: HOST },
    { runId, execution: 1, key: 'k2', state: 'INPROGRESS', timeline: 'agent_started' },
    { runId, execution: 1, key: 'k3', state: 'SUCCEEDED', timeline: 'oz_run_done' },
  ]
  for (const change of changes)
    await Promise.all([activities.recordStates([change]), activities.recordStates([change])])
  for (const change of changes) await activities.recordStates([change])
  expect(await types(runId)).toEqual(['oz_run_created', 'oz_run_claimed', 'agent_started', 'oz_run_done'])
  const events = await readEvents(database.db, runId, 0, 100)
  expect(events.map((event) => [event.sequence, event.data.state])).toEqual([
    [1, 'QUEUED'],
    [2, 'PENDING'],
    [3, 'CLAIMED'],
    [4, 'INPROGRESS'],
    [5, 'SUCCEEDED'],
  ])
  const ended = await run(runId)
  expect(ended).toMatchObject({ state: 'SUCCEEDED', execution: 1 })
  expect(ended.run_time).toMatch(/^PT[\d.]+S$/)
  expect(ended.finished_at).not.toBeNull()
  // Another word of its end is a second terminal entry, which an execution cannot have.
  await report({ state: 'SUCCEEDED' })
  expect((await types(runId)).filter((type) => type === 'oz_run_done')).toHaveLength(1)
})

test('changes that are recorded together leave behind what they leave one by one', async () => {
  const changesOf = (runId: string): StateChange[] => {
    const of = { runId, execution: 1 }
    const sandbox = (running: boolean) => ({ running, workspaceKept: true })
    return [
      { ...of, key: 'k1', state: 'CLAIMED', timeline: 'oz_run_claimed', hostId: HOST, sandbox: sandbox(true) },
      { ...of, key: 'k2', state: 'INPROGRESS', timeline: 'agent_started' },
      { ...of, key: 'k3', state: 'BLOCKED', timeline: 'oz_run_blocked', question },
      { ...of, key: 'k4', state: 'INPROGRESS', message: 'It goes on.' },
      { ...of, key: 'k5', state: 'SUCCEEDED', timeline: 'oz_run_done', sandbox: sandbox(false) },
    ]
  }
  const record = async (batchesOf: (changes: StateChange[]) => StateChange[][]) => {
    const { runId } = await begunRun()
    const news: StateChange[] = []
    for (const batch of batchesOf(changesOf(runId))) news.push(...(await recordStates(database.db, batch, 24)))
    const { db } = database
    const meters = await db.selectFrom('sandbox_meters').selectAll().where('run_id', '=', runId).execute()
    const execution = await db
      .selectFrom('executions')
      .selectAll()
      .where('run_id', '=', runId)
      .executeTakeFirstOrThrow()
    const statistics = await db.selectFrom('run_statistics').select('state').where('run_id', '=', runId).execute()
    const { title: _, run_id: __, task_id: ___, ...served } = await run(runId)
    const told = (await describeChanges(db, news)).map(({ former, queueSeconds, ...change }) => ({
      ...change,
      former: former?.state,
      waited: queueSeconds !== null,
    }))
    return {
      state: served.state,
      status: served.status_message,
      questions: served.questions,
      times: [served.started_at, served.finished_at, execution.started_at, execution.finished_at].map(
        (time) => time !== null,
      ),
      host: [
        execution.host_id,
        (await db.selectFrom('places').selectAll().where('run_id', '=', runId).execute()).length,
      ],
      timeline: (await readTimeline(db, runId)).map(({ event_type, payload }) => [event_type, payload]),
      events: (await readEvents(db, runId, 0, 100)).map(({ sequence, data }) => [sequence, data]),
      meters: meters.map(({ host_id, ended_at }) => [host_id, ended_at !== null]),
      statistics,
      news: news.map(({ key }) => key),
      told,
    }
  }
  const oneByOne = await record((changes) => changes.map((change) => [change]))
  expect(oneByOne).toMatchObject({ state: 'SUCCEEDED', news: ['k1', 'k2', 'k3', 'k4', 'k5'], meters: [[HOST, true]] })
  expect(await record((changes) => [changes])).toEqual(oneByOne)
  // Some of them for a second time, because an answer was lost, and one said twice.
  expect(await record((changes) => [changes.slice(0, 2), changes])).toEqual(oneByOne)
  expect(await record((changes) => [changes.flatMap((change) => [change, change])])).toEqual(oneByOne)
})

test('a failure is served with its code, its phase and what to do', async () => {
  const { runId, report } = await begunRun()
  await report({
    state: 'FAILED',
    failure: {
      code: 'setup_command_failed',
      phase: 'setup',
      message: 'npm ci failed',
      command: 'npm ci',
      exitCode: 1,
      logTail: 'nope',
      nextStep: 'Fix it',
    },
  })
  const served = {
    code: 'setup_command_failed',
    phase: 'setup',
    message: 'npm ci failed',
    command: 'npm ci',
    exit_code: 1,
    log_tail: 'nope',
    next_step: 'Fix it',
    retryable: false,
  }
  expect(await run(runId)).toMatchObject({
    state: 'FAILED',
    failure: served,
    status_message: { message: 'npm ci failed', error_code: 'environment_setup_failed', retryable: false },
  })
  expect((await readEvents(database.db, runId, 1, 10)).at(-1)?.data).toMatchObject({ state: 'FAILED', failure: served })
  expect(await types(runId)).toEqual(['oz_run_created', 'oz_run_failed'])
})

const question = {
  questionId: 'agent-1:7',
  title: 'Run rm?',
  options: [
    { optionId: 'yes', name: 'Yes', kind: 'allow_once' },
    { optionId: 'no', name: 'No', kind: 'reject_once' },
  ],
}

test('a question is open from BLOCKED until it is answered, and takes one answer', async () => {
  const { runId, report } = await begunRun()
  await report({ state: 'INPROGRESS' })
  expect(await answer(runId, 'yes')).toEqual({ kind: 'no_open_question' })
  await report({ state: 'BLOCKED', timeline: 'oz_run_blocked', question })
  expect(await run(runId)).toMatchObject({
    state: 'BLOCKED',
    status_message: { message: 'Run rm?' },
    questions: [{ question_id: 'agent-1:7', title: 'Run rm?', options: [{ option_id: 'yes' }, { option_id: 'no' }] }],
  })
  expect(await answer(runId, 'maybe')).toMatchObject({ kind: 'unknown_option' })
  expect(await answer(runId, 'yes', 'agent-1:8')).toEqual({ kind: 'unknown_question' })
  expect(await answer(runId, 'deny')).toMatchObject({ kind: 'answered', questionId: 'agent-1:7', optionId: 'no' })
  expect((await run(runId)).questions).toEqual([])
  expect(await answer(runId, 'yes')).toEqual({ kind: 'already_answered' })
  await report({ state: 'INPROGRESS' })
  expect(await answer(runId, 'yes', 'agent-1:7')).toEqual({ kind: 'already_answered' })
})

test('a question that the run no longer waits for takes no answer', async () => {
  const { runId, report } = await begunRun()
  await report({ state: 'BLOCKED', question })
  await report({ state: 'CANCELLED', message: 'Cancelled on request.' })
  expect(await answer(runId, 'yes', 'agent-1:7')).toEqual({ kind: 'already_answered' })
  expect(await run(runId)).toMatchObject({ questions: [], status_message: { message: 'Cancelled on request.' } })
})

test('a follow-up begins a fresh execution, on the host that keeps the workspace', async () => {
  const { runId, report } = await begunRun()
  await report({ state: 'CLAIMED', hostId: HOST })
  await activities.recordSandbox({ runId, execution: 1, running: true, workspaceKept: true })
  await report({ state: 'SUCCEEDED' })
  await activities.recordSandbox({ runId, execution: 1, running: false, workspaceKept: true })
  const mail = await followUp(runId)
  const plan = await activities.beginExecution({ runId, key: 'w2/1', mail: [mail] })
  expect(plan).toMatchObject({ execution: 2, heldBy: HOST })
  expect(await run(runId)).toMatchObject({ state: 'PENDING', execution: 2, finished_at: null })
  // A late word of the first execution no longer counts.
  await activities.recordStates([{ runId, execution: 1, key: 'late', state: 'ERROR' }])
  await activities.recordSandbox({ runId, execution: 1, running: true, workspaceKept: false })
  expect(await run(runId)).toMatchObject({ state: 'PENDING', is_sandbox_running: false })
  expect(await types(runId)).toEqual(['oz_run_created', 'worker_container_ready', 'oz_run_done', 'vm_shutdown'])
})

test('a workspace that is not kept, or no longer, holds a follow-up to no host', async () => {
  const noKeeping = makeOrchestratorActivities({
    db: database.db,
    config: loadConfig({ AMBIENT_WORKSPACE_HOURS: '0' }),
  })
  for (const workspaceKept of [true, false]) {
    const { runId, report } = await begunRun()
    await report({ state: 'CLAIMED', hostId: HOST })
    await report({ state: 'SUCCEEDED' })
    await noKeeping.recordSandbox({ runId, execution: 1, running: false, workspaceKept })
    expect(await runsToRemove(database.db, HOST, [runId])).toEqual([runId])
    const mail = await followUp(runId)
    // A message waits: the next execution is about to begin.
    expect(await runsToRemove(database.db, HOST, [runId])).toEqual([])
    expect(await activities.beginExecution({ runId, key: 'w2/1', mail: [mail] })).toMatchObject({ heldBy: null })
  }
})

test('a host removes what is over and not kept, and what another host has taken; never what it does not know', async () => {
  const { runId, report } = await begunRun()
  const remove = (host: string) => runsToRemove(database.db, host, [runId, randomUUID()])
  expect(await remove(HOST)).toEqual([])
  await report({ state: 'CLAIMED', hostId: HOST })
  expect(await remove(HOST)).toEqual([])
  expect(await remove('host-b')).toEqual([runId])
  await activities.recordSandbox({ runId, execution: 1, running: true, workspaceKept: true })
  await report({ state: 'SUCCEEDED' })
  expect(await remove(HOST)).toEqual([])
  await activities.recordSandbox({ runId, execution: 1, running: false, workspaceKept: true })
  expect(await remove(HOST)).toEqual([])
  expect(await remove('host-b')).toEqual([runId])
  await activities.recordSandbox({ runId, execution: 1, running: false, workspaceKept: false })
  expect(await remove(HOST)).toEqual([runId])
})

test('a credential is good until it is replaced, its sandbox ends, or a newer execution asks', async () => {
  const { runId } = await begunRun()
  const ref = { runId, execution: 1 }
  const { token: first, toolToken } = await issueCredentials(database.db, ref)
  expect(await findToolCredential(database.db, toolToken)).toMatchObject(ref)
  // What an agent reaches its tools by opens no model, and the reverse.
  expect(await findCredential(database.db, toolToken)).toBeNull()
  expect(await findToolCredential(database.db, first)).toBeNull()
  expect(await findCredential(database.db, first)).toMatchObject(ref)
  const { token: second } = await issueCredentials(database.db, ref)
  expect(await findToolCredential(database.db, toolToken)).toMatchObject(ref)
  expect(await findCredential(database.db, first)).toBeNull()
  expect(await findCredential(database.db, second)).toMatchObject(ref)
  await activities.recordSandbox({ ...ref, running: false, workspaceKept: true })
  expect(await findCredential(database.db, second)).toBeNull()
  expect(await findToolCredential(database.db, toolToken)).toBeNull()
  const rows = await database.db.selectFrom('run_credentials').selectAll().execute()
  expect(JSON.stringify(rows)).not.toContain(second)
  await activities.beginExecution({ runId, key: 'w2/1', mail: [await followUp(runId)] })
  await expect(issueToolCredential(database.db, ref)).rejects.toThrow(FencedError)
  await expect(issueCredentials(database.db, ref)).rejects.toThrow(FencedError)
})
