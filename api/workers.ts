// The hosts that are connected, what an operator does to them, and their keys.
import { type Request, Router } from 'express'
import { HostName, NewWorkerKey, type WorkerItem } from '../domain/worker.ts'
import { createWorkerKey, listWorkerKeys, revokeWorkerKey } from '../store/worker-keys.ts'
import { listWorkers, removeWorker, setDraining } from '../store/workers.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, notFound } from './errors.ts'
import { onlyMethods, parseBody, pathId } from './parse.ts'

export function workerRoutes({ db }: Pick<ApiDeps, 'db'>): Router {
  const router = Router()

  router
    .route('/workers')
    .get(async (_request, response) => {
      response.json({ workers: await listWorkers(db) })
    })
    .all(onlyMethods('GET'))

  // As official clients know it: one entry for each name that `worker_host` can have.
  router
    .route('/connected-self-hosted-workers')
    .get(async (_request, response) => {
      response.json({ workers: byWorkerHost(await listWorkers(db)) })
    })
    .all(onlyMethods('GET'))

  router
    .route('/workers/keys')
    .get(async (_request, response) => {
      response.json({ keys: await listWorkerKeys(db) })
    })
    .post(async (request, response) => {
      const { name, pool } = parseBody(NewWorkerKey, request)
      const { key, item } = await createWorkerKey(db, { name, pool: pool ?? null })
      response.status(201).json({ ...item, key })
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/workers/keys/:keyId')
    .delete(async (request, response) => {
      const id = pathId(request, 'keyId', 'worker key')
      if (!(await revokeWorkerKey(db, id))) throw notFound(`There is no worker key ${id}.`)
      response.status(204).end()
    })
    .all(onlyMethods('DELETE'))

  for (const [path, draining] of [
    ['/workers/:workerId/drain', true],
    ['/workers/:workerId/undrain', false],
  ] as const) {
    router
      .route(path)
      .post(async (request, response) => {
        const id = workerId(request)
        const worker = await setDraining(db, id, draining)
        if (worker === null) throw notFound(`There is no worker ${id}.`)
        response.json(worker)
      })
      .all(onlyMethods('POST'))
  }

  router
    .route('/workers/:workerId')
    .delete(async (request, response) => {
      const id = workerId(request)
      const outcome = await removeWorker(db, id)
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
