// The hosts that are connected, what an operator does to them, and their keys.
import { type Request, type Response, Router } from 'express'
import { HostName, NewWorkerKey, type WorkerItem } from '../../domain/worker.ts'
import { type Note, note } from '../../store/audit.ts'
import type { Tx } from '../../store/database.ts'
import { createWorkerKey, listWorkerKeys, revokeWorkerKey } from '../../store/hosts/worker-keys.ts'
import { listWorkers, removeWorker, setDraining } from '../../store/hosts/workers.ts'
import { callerOf, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, notFound } from '../errors.ts'
import { onlyMethods, parseBody, pathId } from '../parse.ts'

export function workerRoutes({ db }: Pick<ApiDeps, 'db'>): Router {
  const router = Router()

  router
    .route('/workers')
    .get(permit('workers.view'), async (_request, response) => {
      response.json({ workers: await listWorkers(db) })
    })
    .all(onlyMethods('GET'))

  // As official clients know it: one entry for each name that `worker_host` can have.
  router
    .route('/connected-self-hosted-workers')
    .get(permit('workers.view'), async (_request, response) => {
      response.json({ workers: byWorkerHost(await listWorkers(db)) })
    })
    .all(onlyMethods('GET'))

  router
    .route('/workers/keys')
    .get(permit('workers.manage'), async (_request, response) => {
      response.json({ keys: await listWorkerKeys(db) })
    })
    .post(permit('workers.manage'), async (request, response) => {
      const { name, pool } = parseBody(NewWorkerKey, request)
      const { key, item } = await db.transaction().execute(async (tx) => {
        const made = await createWorkerKey(tx, { name, pool: pool ?? null })
        const detail = { name, key_prefix: made.item.key_prefix, pool: pool ?? null }
        await noteChange(tx, response, 'worker_keys.create', { type: 'worker_key', uid: made.item.uid }, detail)
        return made
      })
      response.status(201).json({ ...item, key })
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/workers/keys/:keyId')
    .delete(permit('workers.manage'), async (request, response) => {
      const id = pathId(request, 'keyId', 'worker key')
      await db.transaction().execute(async (tx) => {
        if (!(await revokeWorkerKey(tx, id))) throw notFound(`There is no worker key ${id}.`)
        await noteChange(tx, response, 'worker_keys.revoke', { type: 'worker_key', uid: id })
      })
      response.status(204).end()
    })
    .all(onlyMethods('DELETE'))

  for (const [path, draining] of [
    ['/workers/:workerId/drain', true],
    ['/workers/:workerId/undrain', false],
  ] as const) {
    router
      .route(path)
      .post(permit('workers.manage'), async (request, response) => {
        const id = workerId(request)
        const worker = await setDraining(db, id, draining, (tx) =>
          noteChange(tx, response, draining ? 'workers.drain' : 'workers.undrain', { type: 'worker', uid: id }),
        )
        if (worker === null) throw notFound(`There is no worker ${id}.`)
        response.json(worker)
      })
      .all(onlyMethods('POST'))
  }

  router
    .route('/workers/:workerId')
    .delete(permit('workers.manage'), async (request, response) => {
      const id = workerId(request)
      const outcome = await db.transaction().execute(async (tx) => {
        const removed = await removeWorker(tx, id)
        if (removed === 'removed') await noteChange(tx, response, 'workers.remove', { type: 'worker', uid: id })
        return removed
      })
      if (outcome === 'unknown') throw notFound(`There is no worker ${id}.`)
      if (outcome === 'connected')
        throw new HttpError(
          409,
          'conflict',
          `The worker ${id} is connected. Stop it, and wait until it counts as gone.`,
        )
      response.status(204).end()
    })
    .all(onlyMethods('DELETE'))

  return router
}

/** Hosts are all teams': about no team. */
const noteChange = (
  tx: Tx,
  response: Response,
  action: string,
  thing: { type: string; uid: string },
  detail?: Note['detail'],
) => note(tx, { caller: callerOf(response), action, thing: { ...thing, team: null }, ...(detail && { detail }) })

function workerId(request: Request): string {
  const id = HostName.safeParse(request.params.workerId)
  if (!id.success) throw notFound(`There is no worker ${String(request.params.workerId)}.`)
  return id.data
}

function byWorkerHost(workers: readonly WorkerItem[]) {
  const live = workers.filter((worker) => worker.state !== 'gone')
  const pools = Map.groupBy(live, (worker) => worker.pool)
  return [...pools].map(([pool, hosts]) => ({
    worker_host: pool,
    connection_count: hosts.length,
    connected_at: hosts.map((host) => host.connected_at).sort()[0],
    last_seen_at: hosts
      .map((host) => host.last_seen_at)
      .sort()
      .at(-1),
  }))
}
