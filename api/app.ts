// The HTTP API: what is served, in which order it is looked at.
import { randomUUID } from 'node:crypto'
import type { Client } from '@temporalio/client'
import express, { type Express } from 'express'
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { HOST_API } from '../domain/host-api.ts'
import { REQUEST_BYTES } from '../domain/limits.ts'
import type { Db } from '../store/database.ts'
import type { EventListener } from '../store/listener.ts'
import { requireKey } from './auth.ts'
import type { Dispatcher } from './dispatcher.ts'
import { notFound, renderErrors } from './errors.ts'
import { eventRoutes } from './events.ts'
import { healthRoute } from './health.ts'
import { hostRoutes } from './hosts.ts'
import { messageRoutes } from './messages.ts'
import { resultRoutes } from './results.ts'
import { runRoutes } from './runs.ts'

export interface ApiDeps {
  config: Config
  db: Db
  client: Client
  listener: EventListener
  dispatcher: Dispatcher
  keys: { admin: string; worker: string }
  log: Logger
  /** Aborted when the server stops: open streams end, and their readers come back to its successor. */
  closing: AbortSignal
}

/** A host hands over batches of events and whole diffs. */
const HOST_REQUEST_BYTES = 256 * 1024 * 1024

export function createApp(deps: ApiDeps): Express {
  const app = express()
  app.disable('x-powered-by')
  // Nothing here is worth a conditional request, and hashing each answer is not free.
  app.disable('etag')
  app.use((_request, response, next) => {
    response.set('x-request-id', randomUUID())
    next()
  })
  app.get('/healthz', healthRoute(deps))
  app.use(
    '/api/v1/agent',
    requireKey(deps.keys.admin),
    express.json({ limit: REQUEST_BYTES }),
    runRoutes(deps),
    messageRoutes(deps),
    eventRoutes(deps),
    resultRoutes(deps),
  )
  app.use(HOST_API, requireKey(deps.keys.worker), express.json({ limit: HOST_REQUEST_BYTES }), hostRoutes(deps))
  app.use(requireKey(deps.keys.admin), (request) => {
    throw notFound(`There is no ${request.method} ${request.path}.`)
  })
  app.use(renderErrors(deps.log))
  return app
}
