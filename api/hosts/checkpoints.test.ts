import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createHostServer, FencedError, type HostServer, ServerRefusal } from '../../activities/host/server.ts'
import { dropOldCheckpoints } from '../../store/runs/checkpoint-history.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'

/** What sealing adds to a piece. */
const SEAL_BYTES = 28

let api: TestApi
let directory: string
let host: HostServer
beforeAll(async () => {
  api = await startTestApi({
    env: { AMBIENT_CHECKPOINT_MB: '8', AMBIENT_CHECKPOINTS: '4', AMBIENT_CHECKPOINTS_MB: '2' },
  })
  directory = await mkdtemp(join(tmpdir(), 'ambient-checkpoints-'))
  host = hostNamed(HOST.id, HOST.secret)
})
afterAll(async () => {
  await api.close()
  await rm(directory, { recursive: true, force: true })
})

const hostNamed = (hostId: string, secret: string) =>
  createHostServer({ url: api.url, key: HOST.key, hostId, secret, log: pino({ level: 'silent' }) })
const signal = () => AbortSignal.timeout(20_000)
const file = (name: string) => join(directory, name)

async function heldRun(): Promise<string> {
  const { runId } = await givenRun(api.db)
  await api.hold(runId)
  return runId
}

const summary = {
  taken_at: '2026-01-02T03:04:05.678Z',
  message_id: null,
  session: true,
  repositories: [{ path: 'project', head_commit: 'a'.repeat(40), branch: 'refs/heads/main', files_changed: 3 }],
  left_out: [],
}

async function save(runId: string, content: Buffer, execution = 1, as = host, late = false): Promise<void> {
  await writeFile(file('sent'), content)
  await as.saveCheckpoint(runId, execution, { file: file('sent'), summary, late }, signal())
}

async function load(runId: string, execution = 1, as = host): Promise<Buffer | null> {
  const there = await as.loadCheckpoint(runId, execution, file('got'), signal())
  return there ? await readFile(file('got')) : null
}

const rows = async (runId: string) => {
  const checkpoints = await api.db.selectFrom('checkpoints').select('id').where('run_id', '=', runId).execute()
  const pieces = await api.db
    .selectFrom('checkpoint_pieces')
    .innerJoin('checkpoints', 'checkpoints.id', 'checkpoint_pieces.checkpoint_id')
    .select((eb) => eb.fn.max(eb.fn<number>('octet_length', ['checkpoint_pieces.bytes'])).as('largest'))
    .where('run_id', '=', runId)
    .executeTakeFirstOrThrow()
  return { checkpoints: checkpoints.length, largest: pieces.largest }
}

test('a checkpoint comes back byte for byte, kept in pieces, and the newest counts', async () => {
  const runId = await heldRun()
  expect(await load(runId)).toBeNull()
  const first = randomBytes(5_000_001)
  await save(runId, first)
  expect((await load(runId))?.equals(first)).toBe(true)
  const second = randomBytes(10)
  await save(runId, second)
  expect((await load(runId))?.equals(second)).toBe(true)
  // Both together would be more than the run may have.
  expect(await rows(runId)).toEqual({ checkpoints: 1, largest: 10 + SEAL_BYTES })
  await save(runId, first)
  expect((await rows(runId)).largest).toBeLessThan(2 * 1024 * 1024)
  expect(await host.order(runId, 1, signal())).toMatchObject({ has_checkpoint: true, former: null })
})

test('a host that a newer execution has overtaken neither stores a checkpoint nor gets one', async () => {
  const runId = await heldRun()
  await save(runId, Buffer.from('of the first'))
  await api.hold(runId, { execution: 2, as: { id: 'machine-2', secret: 'secret-of-machine-2' } })
  const next = hostNamed('machine-2', 'secret-of-machine-2')
  await expect(save(runId, Buffer.from('too late'))).rejects.toThrow(FencedError)
  await expect(load(runId)).rejects.toThrow(FencedError)
  expect((await load(runId, 2, next))?.toString()).toBe('of the first')
  await api.db.updateTable('executions').set({ host_id: HOST.id }).where('execution', '=', 1).execute()
  const order = await next.order(runId, 2, signal())
  expect(order).toMatchObject({ has_checkpoint: true, former: { execution: 1, host_id: HOST.id } })
  await save(runId, Buffer.from('of the second'), 2, next)
  expect((await load(runId, 2, next))?.toString()).toBe('of the second')
})

test('a host that does not hold the run is told nothing of it', async () => {
  const runId = await heldRun()
  await save(runId, Buffer.from('private'))
  await api.hold(await heldRun(), { as: { id: 'machine-3', secret: 'secret-of-machine-3' } })
  const stranger = hostNamed('machine-3', 'secret-of-machine-3')
  await expect(load(runId, 1, stranger)).rejects.toMatchObject({ status: 403 })
  await expect(save(runId, Buffer.from('mine'), 1, stranger)).rejects.toMatchObject({ status: 403 })
})

test('one that is larger than the server takes is refused, and the former one stays', async () => {
  const runId = await heldRun()
  await save(runId, Buffer.from('small'))
  const refused = save(runId, randomBytes(9 * 1024 * 1024))
  await expect(refused).rejects.toThrow(ServerRefusal)
  await expect(refused).rejects.toMatchObject({ status: 413 })
  expect((await load(runId))?.toString()).toBe('small')
  expect(await rows(runId)).toMatchObject({ checkpoints: 1 })
})

test('a sender that dies leaves the former one in place', async () => {
  const runId = await heldRun()
  await save(runId, Buffer.from('whole'))
  const dying = new AbortController()
  const body = new ReadableStream({
    async start(controller) {
      controller.enqueue(randomBytes(3_000_000))
    },
    async pull() {
      // The first pieces are stored by now.
      while ((await rows(runId)).checkpoints < 2) await new Promise((resolve) => setTimeout(resolve, 10))
      dying.abort()
    },
  })
  const sent = fetch(`${api.url}/internal/v1/runs/${runId}/executions/1/checkpoint`, {
    method: 'PUT',
    headers: {
      authorization: `Bearer ${HOST.key}`,
      'x-ambient-host': HOST.id,
      'x-ambient-host-secret': HOST.secret,
      'content-type': 'application/octet-stream',
    },
    body,
    duplex: 'half',
    signal: dying.signal,
  } as RequestInit)
  await expect(sent).rejects.toThrow()
  await expect.poll(() => rows(runId)).toMatchObject({ checkpoints: 1 })
  expect((await load(runId))?.toString()).toBe('whole')
})

test('a checkpoint is kept as long as a workspace is, after the end of its run', async () => {
  const [open, fresh, old, waiting] = [await heldRun(), await heldRun(), await heldRun(), await heldRun()]
  for (const runId of [open, fresh, old, waiting]) await save(runId, Buffer.from('x'))
  const end = async (runId: string, hoursAgo: number) =>
    api.db
      .updateTable('runs')
      .set({ state: 'SUCCEEDED', finished_at: new Date(Date.now() - hoursAgo * 3_600_000) })
      .where('id', '=', runId)
      .execute()
  await end(fresh, 1)
  await end(old, 25)
  await end(waiting, 25)
  await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '!=', waiting).execute()
  expect(await dropOldCheckpoints(api.db, 24)).toBe(1)
  const left = await Promise.all([open, fresh, old, waiting].map(async (runId) => (await rows(runId)).checkpoints))
  expect(left).toEqual([1, 1, 0, 1])
})

const listed = async (runId: string, query = '') =>
  (await api.call('GET', `/agent/runs/${runId}/checkpoints${query}`)).body

test('the checkpoints of a run are listed, the newest first, in pages', async () => {
  const runId = await heldRun()
  expect(await listed(runId)).toEqual({ checkpoints: [], page_info: { has_next_page: false } })
  for (const text of ['one', 'two', 'three']) await save(runId, Buffer.from(text))
  const { checkpoints, page_info } = await listed(runId, '?limit=2')
  expect(checkpoints).toMatchObject([
    { number: 3, newest: true, late: false, bytes: 5, execution: 1, files_changed: 3, session: true },
    { number: 2, newest: false, repositories: summary.repositories, taken_at: summary.taken_at },
  ])
  expect(page_info).toEqual({ has_next_page: true, next_cursor: '2' })
  const rest = await listed(runId, `?limit=2&cursor=${page_info.next_cursor}`)
  expect(rest.checkpoints.map(({ number }: { number: number }) => number)).toEqual([1])
  expect(rest.page_info).toEqual({ has_next_page: false })
  expect((await api.call('GET', `/agent/runs/${runId}`)).body.checkpoint).toEqual({
    number: 3,
    taken_at: summary.taken_at,
  })
  expect(await listed(runId, '?cursor=x')).toMatchObject({ status: 400, detail: 'cursor: is not one of this list' })
})

test('only so many are kept, and so much of them together; the oldest go first, the newest never', async () => {
  const runId = await heldRun()
  const numbers = async () => (await listed(runId)).checkpoints.map(({ number }: { number: number }) => number)
  for (let i = 1; i <= 6; i++) await save(runId, Buffer.from(`${i}`))
  expect(await numbers()).toEqual([6, 5, 4, 3])
  await save(runId, randomBytes(1_200_000))
  await save(runId, randomBytes(1_200_000))
  expect(await numbers()).toEqual([8])
  expect((await load(runId))?.length).toBe(1_200_000)
})

test('what a host still has of an execution that is over joins the history, and never counts for the run', async () => {
  const runId = await heldRun()
  await save(runId, Buffer.from('of the first'))
  await api.hold(runId, { execution: 2, as: { id: 'machine-4', secret: 'secret-of-machine-4' } })
  const next = hostNamed('machine-4', 'secret-of-machine-4')
  await save(runId, Buffer.from('of the second'), 2, next)
  const noteHost = (execution: number, hostId: string) =>
    api.db
      .updateTable('executions')
      .set({ host_id: hostId })
      .where('run_id', '=', runId)
      .where('execution', '=', execution)
      .execute()
  await noteHost(1, HOST.id)
  await noteHost(2, 'machine-4')
  // Asked what it may remove, it is told to hand over what it has first.
  expect(await host.sweep([runId], signal())).toEqual({ remove: [runId], stop: [], save: [runId] })
  await save(runId, Buffer.from('what came late'), 1, host, true)
  expect((await load(runId, 2, next))?.toString()).toBe('of the second')
  expect((await listed(runId)).checkpoints).toMatchObject([
    { number: 3, execution: 1, late: true, newest: false },
    { number: 2, execution: 2, newest: true },
    { number: 1, execution: 1 },
  ])
  expect(await host.lateOrder(runId, 1, signal())).toMatchObject({ execution: 1 })
  await expect(host.order(runId, 1, signal())).rejects.toThrow(FencedError)
})

test('its pieces lie sealed, and are opened with a newer key of the vault as well', async () => {
  const runId = await heldRun()
  const words = Buffer.from('words of a workspace '.repeat(100))
  await save(runId, words)
  const pieces = await api.db
    .selectFrom('checkpoint_pieces')
    .innerJoin('checkpoints', 'checkpoints.id', 'checkpoint_pieces.checkpoint_id')
    .select('checkpoint_pieces.bytes')
    .where('run_id', '=', runId)
    .execute()
  expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).toString('latin1')).not.toContain('workspace')
  const { body } = await api.call('POST', '/agent/vault/rotate', { new_key: true })
  expect(body.sealed).toMatchObject([{ key: body.keys[0] }])
  expect((await load(runId))?.equals(words)).toBe(true)
})
