import { afterAll, beforeAll, expect, test } from 'vitest'
import { acceptMail } from '../../store/runs/mail.ts'
import { recordState } from '../../store/runs/states.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

const cancel = (runId: string, body: object = { cascade: true }) =>
  api.call('POST', `/agent/runs/${runId}/cancel`, body)
const begin = (parent?: string) => api.call('POST', '/agent/runs', { prompt: 'Do it', parent_run_id: parent })
const start = async (parent?: string): Promise<string> => (await begin(parent)).body.run_id
const cancels = async (runId: string) =>
  (
    await api.db.selectFrom('mail').select('body').where('run_id', '=', runId).where('kind', '=', 'cancel').execute()
  ).map(({ body }) => body)

async function end(runId: string): Promise<void> {
  const mail = await api.db.selectFrom('mail').select('id').where('run_id', '=', runId).execute()
  await acceptMail(api.db, { runId, key: 'w', ids: mail.map(({ id }) => id) })
  await recordState(api.db, { runId, execution: 1, key: 'end', state: 'CANCELLED' })
}

/** A run with two children, one of them over, and a grandchild below each. */
async function family() {
  const root = await start()
  const [child, ended] = [await start(root), await start(root)]
  const grandchildren = [await start(child), await start(ended)]
  await end(ended)
  return { root, child, ended, grandchildren }
}

test('a cancel leaves the runs alone that a run began', async () => {
  const { root, child } = await family()
  expect(await cancel(root, {})).toMatchObject({ status: 200, body: root })
  expect(await cancels(child)).toEqual([])
})

test('with `cascade` it is for all of them that are going on, however far below, once', async () => {
  const { root, child, ended, grandchildren } = await family()
  const stranger = await start()
  const going = [root, child, ...grandchildren].toSorted()
  for (const _ of [1, 2]) {
    const { status, body } = await cancel(root)
    expect([status, body.run_id, body.cancelled_run_ids.toSorted()]).toEqual([200, root, going])
  }
  for (const runId of going) expect(await cancels(runId)).toEqual([expect.objectContaining({ cascade: true })])
  expect(await cancels(ended)).toEqual([])
  expect(await cancels(stranger)).toEqual([])
})

test('of a run that is over, what it began is cancelled; when that is over, too, it is refused', async () => {
  const { ended, grandchildren } = await family()
  const { body } = await cancel(ended)
  expect(body.cancelled_run_ids).toEqual([grandchildren[1]])
  await end(grandchildren[1] as string)
  expect(await cancel(ended)).toMatchObject({
    status: 400,
    body: { detail: expect.stringContaining('every run that it began') },
  })
})

test('a run that is cancelled already is cancelled with its children by a second word', async () => {
  const { root, child } = await family()
  await cancel(root, {})
  await cancel(root)
  expect(await cancels(root)).toEqual([expect.objectContaining({ cascade: true })])
  expect(await cancels(child)).toHaveLength(1)
})

test('whoever is cancelled with its children begins no further ones, until somebody goes on with it', async () => {
  const { root, child } = await family()
  await cancel(root)
  expect(await begin(child)).toMatchObject({ status: 409, body: { detail: expect.stringContaining(child) } })
  await end(child)
  expect(await begin(child)).toMatchObject({ status: 409 })
  await recordState(api.db, { runId: child, execution: 2, key: 'again', state: 'INPROGRESS' })
  expect(await begin(child)).toMatchObject({ status: 200 })
})

test('a child that is begun at the same moment is cancelled, or refused', async () => {
  for (let round = 0; round < 8; round++) {
    const root = await start()
    const child = await start(root)
    const begun = Array.from({ length: 6 }, (_, index) => begin(index % 2 ? root : child))
    const [{ body }, ...answers] = await Promise.all([cancel(root), ...begun])
    const late = answers.filter(({ status }) => status !== 409).map((answer) => answer.body.run_id)
    expect(body.cancelled_run_ids).toEqual(expect.arrayContaining([root, child, ...late]))
    expect(body.cancelled_run_ids).toHaveLength(2 + late.length)
  }
})

test('two cancels of one tree do not wait for each other for ever', async () => {
  const { root, child, grandchildren } = await family()
  const answers = await Promise.all([root, child, ...grandchildren, root, child].map((runId) => cancel(runId)))
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
})

test('a word that no cancel has is refused', async () => {
  expect(await cancel(await start(), { cascad: true })).toMatchObject({
    status: 400,
    body: { detail: expect.stringContaining('cascade') },
  })
})
