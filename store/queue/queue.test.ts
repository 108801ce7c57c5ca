import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeOrchestratorActivities } from '../../activities/orchestrator.ts'
import { loadConfig } from '../../config.ts'
import { EnvironmentConfig } from '../../domain/environment.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { givenRun } from '../../test/support/runs.ts'
import type { OrchestratorActivities } from '../../workflows/contract.ts'
import { deleteEnvironment, insertEnvironment, replaceEnvironment } from '../builds/environments.ts'
import { createDatabase, type Database, type Tx } from '../database.ts'
import { readEvents } from '../runs/events.ts'
import { insertMail, promptBody } from '../runs/mail.ts'
import { findRun, type NewRun } from '../runs/runs.ts'
import { keepLineMoving } from './admission.ts'
import { dropPlace, heldPlaces, noteHost } from './places.ts'
import { wouldWait } from './queue.ts'

let postgres: TestPostgres
let database: Database
let activities: OrchestratorActivities
beforeAll(async () => {
  postgres = await startTestPostgres()
})
afterAll(() => postgres.stop())

beforeEach(async () => {
  // As many as ask at once in the last test: what is tested is the line, not the wait for a connection.
  database = createDatabase(await postgres.databaseUrl(), { connections: 40 })
  activities = makeOrchestratorActivities({ db: database.db, config: loadConfig({}) })
})
afterEach(() => database.close())

/** Machines that have just reported. */
async function hosts(...machines: { id: string; pool?: string; capacity: number; silent?: boolean }[]): Promise<void> {
  for (const { id, pool = 'default', capacity, silent } of machines) {
    const row = {
      pool,
      kind: 'direct' as const,
      version: '1',
      capacity,
      reported_at: silent ? new Date(0) : new Date(),
    }
    await database.db
      .insertInto('hosts')
      .values({ id, ...row })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
      .execute()
  }
}

const teams = (limits: Record<string, number>) =>
  Promise.all(
    Object.entries(limits).map(([name, run_limit]) =>
      database.db
        .insertInto('teams')
        .values({ name, run_limit })
        .onConflict((conflict) => conflict.column('name').doUpdateSet({ run_limit }))
        .execute(),
    ),
  )

type Fields = Partial<NewRun> & { team?: string }

/** A run whose workflow begins. What the workflow would do next is up to the test. */
async function begin({ team = 'default', ...fields }: Fields = {}) {
  const { runId, messageId } = await givenRun(database.db, fields)
  if (team !== 'default') await database.db.updateTable('runs').set({ team }).where('id', '=', runId).execute()
  return workflowOf(runId, messageId)
}

async function workflowOf(runId: string, messageId: string) {
  const plan = await activities.beginExecution({ runId, key: randomUUID(), mail: [messageId] })
  if (!plan) throw new Error('nothing to begin')
  await activities.acceptMail({ runId, key: randomUUID(), ids: [messageId] })
  const { execution } = plan
  const report = (state: 'CLAIMED' | 'SUCCEEDED' | 'CANCELLED', hostId?: string) =>
    activities.recordStates([{ runId, execution, key: randomUUID(), state, hostId }])
  const sandbox = (running: boolean) => activities.recordSandbox({ runId, execution, running, workspaceKept: true })
  return {
    runId,
    plan,
    execution,
    report,
    async claimed(hostId: string) {
      await report('CLAIMED', hostId)
      await sandbox(true)
    },
    /** The work is done, the sandbox is kept. */
    finish: () => report('SUCCEEDED'),
    giveUpSandbox: () => sandbox(false),
    async end() {
      await sandbox(false)
      await report('SUCCEEDED')
    },
  }
}

/** Those that have been told, in the order they were. */
async function told(kind: 'admit' | 'release'): Promise<string[]> {
  const rows = await database.db
    .selectFrom('mail')
    .select('run_id')
    .where('kind', '=', kind)
    .orderBy('position')
    .execute()
  return rows.map((row) => row.run_id)
}
const queueOf = async (runId: string) => (await findRun(database.db, runId))?.queue
const ids = (runs: readonly { runId: string }[]) => runs.map(({ runId }) => runId)

describe('a run that there is room for', () => {
  test('is let in when it begins, and is told nothing', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const { plan, runId } = await begin()
    expect(plan.admitted).toBe(true)
    expect(await told('admit')).toEqual([])
    expect(await queueOf(runId)).toBeNull()
  })

  test('is let in once, however often its beginning is tried', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const { runId, messageId } = await givenRun(database.db)
    const plans = await Promise.all(
      [1, 2, 3].map(() => activities.beginExecution({ runId, key: 'w/1', mail: [messageId] })),
    )
    expect(plans.map((plan) => plan?.admitted)).toEqual([true, true, true])
    expect((await begin()).plan.admitted).toBe(false)
  })
})

describe('a run that there is no room for', () => {
  test('waits, says where and why, and is let in when a sandbox is gone', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const first = await begin()
    const [second, third] = [await begin(), await begin()]
    expect([second.plan.admitted, third.plan.admitted]).toEqual([false, false])
    const message = 'Place 2 in line: pool "default" is full, 1 of 1.'
    expect(await findRun(database.db, third.runId)).toMatchObject({
      state: 'QUEUED',
      status_message: { message },
      queue: { position: 2, reason: 'at_capacity', scope: 'pool', name: 'default', limit: 1, in_use: 1, message },
    })
    const events = await readEvents(database.db, third.runId, 0, 10)
    expect(events.map(({ data }) => data.message)).toEqual([undefined, message])
    await first.claimed('a')
    await first.end()
    expect(await told('admit')).toEqual([second.runId])
    expect(await queueOf(third.runId)).toMatchObject({ position: 1 })
  })

  test('says that no host of its pool is connected, and is let in when one comes', async () => {
    await hosts({ id: 'a', capacity: 1 }, { id: 'gone', pool: 'gpu', capacity: 5, silent: true })
    const run = await begin({ pool: 'gpu' })
    expect(await queueOf(run.runId)).toMatchObject({
      reason: 'no_host',
      scope: 'pool',
      name: 'gpu',
      message: 'Place 1 in line: no host of the pool "gpu" is connected and takes new runs.',
    })
    await hosts({ id: 'gone', pool: 'gpu', capacity: 5 })
    await keepLineMoving(database.db)
    expect(await told('admit')).toEqual([run.runId])
  })

  test('leaves the line when it is cancelled, and lets those behind it move up', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const first = await begin()
    const [second, third] = [await begin(), await begin()]
    await second.report('CANCELLED')
    expect(await queueOf(third.runId)).toMatchObject({ position: 1 })
    await first.claimed('a')
    await first.end()
    expect(await told('admit')).toEqual([third.runId])
  })

  test('gives the place back when it is cancelled after it was let in and before a host has it', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const first = await begin()
    const second = await begin()
    await first.report('CANCELLED')
    expect(await told('admit')).toEqual([second.runId])
  })
})

describe('the order', () => {
  test('is priority, then arrival', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const first = await begin()
    const normal = await begin()
    const urgent = await begin({ priority: 5 })
    const low = await begin({ priority: -1 })
    const urgentToo = await begin({ priority: 5 })
    const expected = [urgent, urgentToo, normal, low]
    const positions = await Promise.all(expected.map(async ({ runId }) => (await queueOf(runId))?.position))
    expect(positions).toEqual([1, 2, 3, 4])
    for (const run of [first, ...expected]) {
      await run.claimed('a')
      await run.end()
    }
    expect(await told('admit')).toEqual(ids(expected))
  })

  test('is by the time a request was written down, also when its workflow began late', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const first = await begin()
    const early = await givenRun(database.db)
    const late = await begin()
    await workflowOf(early.runId, early.messageId)
    await first.claimed('a')
    await first.end()
    expect(await told('admit')).toEqual([early.runId])
    expect(await queueOf(late.runId)).toMatchObject({ position: 1 })
  })

  test("takes teams in turn: one team's flood does not keep another from its share", async () => {
    await hosts({ id: 'a', capacity: 2 })
    await teams({ flood: 100, quiet: 100 })
    const running = [await begin({ team: 'flood' }), await begin({ team: 'flood' })]
    const flood = await begin({ team: 'flood' })
    for (let count = 0; count < 5; count++) await begin({ team: 'flood' })
    const quiet = await begin({ team: 'quiet' })
    await begin({ team: 'quiet' })
    expect(await queueOf(quiet.runId)).toMatchObject({ position: 1 })
    for (const run of running) {
      await run.claimed('a')
      await run.end()
    }
    // One place of two each.
    expect(await told('admit')).toEqual(ids([quiet, flood]))
  })

  test('takes the team that uses least of its own limit', async () => {
    await hosts({ id: 'a', capacity: 7 })
    await teams({ small: 2, big: 20 })
    for (let count = 0; count < 5; count++) await begin({ team: 'big' })
    const one = await begin({ team: 'small' })
    const last = await begin()
    await begin({ team: 'small' })
    const next = await begin({ team: 'big' })
    await last.claimed('a')
    await last.end()
    // 5 of 20 is less than 1 of 2.
    expect(await told('admit')).toEqual([next.runId])
    expect(one.plan.admitted).toBe(true)
  })
})

describe('a limit', () => {
  test('of a team holds up its own runs and nobody else', async () => {
    await hosts({ id: 'a', capacity: 10 })
    await teams({ default: 2, other: 10 })
    const first = await begin()
    await begin()
    const waiting = await begin({ priority: 100 })
    expect(await queueOf(waiting.runId)).toMatchObject({
      scope: 'team',
      name: 'default',
      limit: 2,
      in_use: 2,
      position: 1,
    })
    expect((await begin({ team: 'other' })).plan.admitted).toBe(true)
    // The team has room at the end of the work, whether or not the sandbox is kept.
    await first.claimed('a')
    await first.finish()
    expect(await told('admit')).toEqual([waiting.runId])
    expect(await told('release')).toEqual([])
    // A word of before, said again late, takes no place back.
    await database.db.transaction().execute((tx) => noteHost(tx, first.runId, first.execution, 'a'))
    await waiting.claimed('a')
    await waiting.finish()
    expect((await begin()).plan.admitted).toBe(true)
  })

  test('of a group is that of each run, and is counted over all pools', async () => {
    await hosts({ id: 'a', capacity: 10 }, { id: 'b', pool: 'gpu', capacity: 10 })
    const staging = (limit: number, pool = 'default') =>
      begin({ pool, concurrency_group: 'staging', concurrency_limit: limit })
    const first = await staging(1)
    const second = await staging(1, 'gpu')
    expect(second.plan.admitted).toBe(false)
    expect((await staging(2)).plan.admitted).toBe(true)
    expect((await begin()).plan.admitted).toBe(true)
    expect(await queueOf(second.runId)).toMatchObject({ scope: 'group', name: 'staging', limit: 1, in_use: 2 })
    await first.claimed('a')
    await first.end()
    expect(await told('admit')).toEqual([])
  })

  test('of an environment is counted over its runs, and lets more in at once when it is raised or gone', async () => {
    await hosts({ id: 'a', capacity: 10 })
    const config = EnvironmentConfig.parse({ name: 'web', run_limit: 1, prepare: false })
    const inTx = <T>(work: (tx: Tx) => Promise<T>) => database.db.transaction().execute(work)
    const { uid } = await inTx((tx) => insertEnvironment(tx, 'default', config, 'default'))
    const limited = { environment_id: uid }
    const asked = { pool: 'default', team: 'default', concurrency: null, environmentId: uid }
    expect(await wouldWait(database.db, asked)).toBe(false)
    const first = await begin(limited)
    expect(await wouldWait(database.db, asked)).toBe(true)
    const [second, third, fourth, other] = [
      await begin(limited),
      await begin(limited),
      await begin(limited),
      await begin(),
    ]
    expect([first, second, third, other].map(({ plan }) => plan.admitted)).toEqual([true, false, false, true])
    expect(await queueOf(third.runId)).toMatchObject({
      position: 2,
      scope: 'environment',
      name: 'web',
      limit: 1,
      in_use: 1,
      message: 'Place 2 in line: limit of the environment "web", 1 of 1.',
    })
    await first.claimed('a')
    // Its sandbox is kept: that is no work.
    await first.finish()
    expect(await told('admit')).toEqual([second.runId])
    await inTx((tx) =>
      replaceEnvironment(tx, { team: 'default', id: uid, pool: 'default' }, () => ({ ...config, run_limit: 2 })),
    )
    expect(await told('admit')).toEqual([second.runId, third.runId])
    await inTx((tx) => deleteEnvironment(tx, 'default', uid))
    expect(await told('admit')).toEqual([second.runId, third.runId, fourth.runId])
  })

  test('of a pool is what its live hosts hold together', async () => {
    await hosts({ id: 'a', capacity: 1 }, { id: 'b', capacity: 2 }, { id: 'dead', capacity: 50, silent: true })
    const plans = []
    for (let count = 0; count < 4; count++) plans.push((await begin()).plan.admitted)
    expect(plans).toEqual([true, true, true, false])
  })

  test('of a pool is without the hosts that drain', async () => {
    await hosts({ id: 'a', capacity: 1 }, { id: 'b', capacity: 1 })
    const first = await begin()
    await first.claimed('b')
    await database.db.updateTable('hosts').set({ draining_at: new Date() }).where('id', '=', 'b').execute()
    expect((await begin()).plan.admitted).toBe(true)
    expect((await begin()).plan.admitted).toBe(false)
    await database.db.updateTable('hosts').set({ draining_at: new Date() }).execute()
    const waiting = await begin()
    expect(await queueOf(waiting.runId)).toMatchObject({ reason: 'no_host' })
  })

  test('of a host that is gone takes its runs out of the count with it', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const first = await begin()
    await first.claimed('a')
    await hosts({ id: 'a', capacity: 1, silent: true }, { id: 'b', capacity: 1 })
    expect((await begin()).plan.admitted).toBe(true)
    expect((await begin()).plan.admitted).toBe(false)
  })
})

describe('a sandbox that is kept', () => {
  test('counts on its host, and is asked for, the longest idle first, when others wait', async () => {
    await hosts({ id: 'a', capacity: 2 })
    const [first, second] = [await begin(), await begin()]
    const runs = [first, second]
    for (const run of runs) {
      await run.claimed('a')
      await run.finish()
    }
    expect(await told('release')).toEqual([])
    const third = await begin()
    expect(third.plan.admitted).toBe(false)
    expect(await told('release')).toEqual([first.runId])
    const fourth = await begin()
    expect(await told('release')).toEqual(ids(runs))
    const fifth = await begin()
    await keepLineMoving(database.db)
    expect(await told('release')).toEqual(ids(runs))
    await first.giveUpSandbox()
    expect(await told('admit')).toEqual([third.runId])
    await second.giveUpSandbox()
    expect(await told('admit')).toEqual(ids([third, fourth]))
    // Work that ends now leaves nothing idle: one waits.
    await third.claimed('a')
    await third.finish()
    expect(await told('release')).toEqual(ids([...runs, third]))
    await third.giveUpSandbox()
    expect(await told('admit')).toEqual(ids([third, fourth, fifth]))
  })

  test('is not asked for by a run that could not begin with it either', async () => {
    await hosts({ id: 'a', capacity: 2 })
    await teams({ default: 1 })
    const first = await begin()
    await first.claimed('a')
    await first.finish()
    await begin()
    const waiting = await begin()
    expect(await queueOf(waiting.runId)).toMatchObject({ scope: 'team' })
    expect(await told('release')).toEqual([])
  })

  test('takes a follow-up at once although the pool is full', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const first = await begin()
    await first.claimed('a')
    await first.finish()
    const waiting = await begin()
    expect(await told('release')).toEqual([first.runId])
    // The message was faster than the word that others wait.
    const again = await workflowOf(first.runId, await followUp(first.runId))
    expect(again.plan).toMatchObject({ admitted: true, heldBy: 'a', execution: 2 })
    await again.finish()
    expect(await told('release')).toEqual([first.runId, first.runId])
    await again.giveUpSandbox()
    expect(await told('admit')).toEqual([waiting.runId])
  })

  test('waits with its follow-up for the limit of its team', async () => {
    await hosts({ id: 'a', capacity: 5 })
    await teams({ default: 1 })
    const first = await begin()
    await first.claimed('a')
    await first.finish()
    const second = await begin()
    const again = await workflowOf(first.runId, await followUp(first.runId))
    expect(again.plan.admitted).toBe(false)
    await second.claimed('a')
    await second.finish()
    expect(await told('admit')).toEqual([first.runId])
  })
})

describe('a follow-up whose workspace is on a host', () => {
  async function keptOn(host: string) {
    const run = await begin()
    await run.claimed(host)
    await run.end()
    return run
  }

  test('waits for that host while it is full, and lets others go to another one', async () => {
    await hosts({ id: 'a', capacity: 1 }, { id: 'b', capacity: 1 })
    const kept = await keptOn('a')
    const busy = await begin()
    await busy.claimed('a')
    const again = await workflowOf(kept.runId, await followUp(kept.runId))
    expect(again.plan).toMatchObject({ admitted: false, heldBy: 'a' })
    expect(await queueOf(kept.runId)).toMatchObject({ scope: 'host', name: 'a', limit: 1, in_use: 1 })
    expect((await begin()).plan.admitted).toBe(true)
    await busy.end()
    await keepLineMoving(database.db)
  })

  test('is let in while its host is away, so that its workflow can find out', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const kept = await keptOn('a')
    const aMinuteAgo = new Date(Date.now() - 60_000)
    await database.db.updateTable('hosts').set({ reported_at: aMinuteAgo }).execute()
    activities = makeOrchestratorActivities({
      db: database.db,
      config: loadConfig({ AMBIENT_HOST_LOST_SECONDS: '600' }),
    })
    const again = await workflowOf(kept.runId, await followUp(kept.runId))
    expect(again.plan).toMatchObject({ admitted: true, heldBy: 'a' })
  })

  test('takes a new place when its host is lost', async () => {
    await hosts({ id: 'a', capacity: 1 })
    const run = await begin()
    await run.claimed('a')
    await run.finish()
    await hosts({ id: 'a', capacity: 1, silent: true }, { id: 'b', capacity: 1 })
    const busy = await begin()
    const again = await workflowOf(run.runId, await followUp(run.runId))
    expect(again.plan).toMatchObject({ admitted: false, heldBy: null })
    await busy.claimed('b')
    await busy.end()
    expect(await told('admit')).toEqual([run.runId])
  })
})

test('a new run is told whether it would wait, those that have not begun counted', async () => {
  const wait = (concurrency: { group: string; limit: number } | null = null) =>
    wouldWait(database.db, { pool: 'default', team: 'default', concurrency, environmentId: null })
  expect(await wait()).toBe(true)
  await hosts({ id: 'a', capacity: 3 })
  expect(await wait()).toBe(false)
  await begin({ concurrency_group: 'x', concurrency_limit: 1 })
  expect([await wait(), await wait({ group: 'x', limit: 1 }), await wait({ group: 'x', limit: 2 })]).toEqual([
    false,
    true,
    false,
  ])
  await givenRun(database.db)
  await givenRun(database.db)
  expect(await wait()).toBe(true)
})

test('the place of a run whose workflow is gone is freed, unless something happened to it meanwhile', async () => {
  await hosts({ id: 'a', capacity: 2 })
  const [lost, alive] = [await begin(), await begin()]
  await lost.claimed('a')
  await alive.claimed('a')
  const waiting = await begin()
  expect(await heldPlaces(database.db, { after: null, limit: 10 })).toEqual([])
  await database.db
    .updateTable('places')
    .set({ since: new Date(Date.now() - 3_600_000) })
    .execute()
  const held = await heldPlaces(database.db, { after: null, limit: 10 })
  expect(ids(held).toSorted()).toEqual(ids([lost, alive]).toSorted())
  await alive.finish()
  const dropped = await Promise.all(
    held.map(async (place) => ({ id: place.runId, is: await dropPlace(database.db, place) })),
  )
  expect(dropped.filter(({ is }) => is).map(({ id }) => id)).toEqual([lost.runId])
  expect(await told('admit')).toEqual([waiting.runId])
})

test('many at once are never over a limit, and all of them come to their turn', async () => {
  const capacity = { a: 2, b: 3 }
  await hosts({ id: 'a', capacity: 2 }, { id: 'b', capacity: 3 })
  await teams({ red: 2, green: 3 })
  let seed = 20_261_121
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor((seed / 2 ** 31) * below)
  }
  const most = { team: { red: 0, green: 0 } as Record<string, number>, group: 0, all: 0 }
  const work = { team: {} as Record<string, number>, group: 0 }
  const kept = { a: 0, b: 0 }
  let ended = 0

  async function live(index: number): Promise<void> {
    const team = random(2) === 0 ? 'red' : 'green'
    const grouped = random(3) === 0
    const cancelled = random(8) === 0
    const keeps = random(2) === 0
    const group = grouped ? { concurrency_group: `g-${team}`, concurrency_limit: 1 } : {}
    const run = await begin({ team, priority: random(3), title: `run ${index}`, ...group })
    if (run.plan.admitted === false) {
      if (cancelled) {
        await run.report('CANCELLED')
        ended += 1
        return
      }
      await hasMail(run.runId, 'admit')
    }
    const host = kept.a < capacity.a ? 'a' : 'b'
    kept[host] += 1
    work.team[team] = (work.team[team] ?? 0) + 1
    if (grouped && team === 'red') work.group += 1
    expect(kept[host]).toBeLessThanOrEqual(capacity[host])
    expect(work.team[team]).toBeLessThanOrEqual(team === 'red' ? 2 : 3)
    expect(work.group).toBeLessThanOrEqual(1)
    most.all = Math.max(most.all, kept.a + kept.b)
    most.team[team] = Math.max(most.team[team] ?? 0, work.team[team] ?? 0)
    await run.claimed(host)
    if (keeps) {
      work.team[team] -= 1
      if (grouped && team === 'red') work.group -= 1
      await run.finish()
      await hasMail(run.runId, 'release')
      kept[host] -= 1
      await run.giveUpSandbox()
    } else {
      kept[host] -= 1
      await run.giveUpSandbox()
      work.team[team] -= 1
      if (grouped && team === 'red') work.group -= 1
      await run.report('SUCCEEDED')
    }
    ended += 1
  }

  // Read for all of them together: one question each, all the time, is more than the rest of their work.
  let mail = new Set<string>()
  let inLine = Number.POSITIVE_INFINITY
  const reading = (async () => {
    while (ended < 80) {
      const rows = await database.db.selectFrom('mail').select(['run_id', 'kind']).execute()
      mail = new Set(rows.map(({ run_id: runId, kind }) => `${kind} ${runId}`))
      const line = await database.db.selectFrom('places').select('run_id').where('stage', '=', 'waiting').execute()
      inLine = line.length
    }
  })()

  /** A sandbox is asked for only while somebody waits for it: at the end of the line nobody asks. */
  async function hasMail(runId: string, kind: 'admit' | 'release'): Promise<void> {
    const has = () => mail.has(`${kind} ${runId}`) || (kind === 'release' && inLine === 0 && ended > 0)
    await expect.poll(has, { timeout: 30_000, interval: 10 }).toBe(true)
  }

  await Promise.all([reading, ...Array.from({ length: 80 }, (_, index) => live(index))])
  expect(ended).toBe(80)
  expect(most).toMatchObject({ all: 5, team: { red: 2, green: 3 } })
  expect(await database.db.selectFrom('places').selectAll().execute()).toEqual([])
}, 60_000)

const followUp = (runId: string) =>
  database.db.transaction().execute((tx) => insertMail(tx, runId, 'prompt', promptBody('more', 'queue')))
