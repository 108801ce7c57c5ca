// The HTTP API: what is served, in which order it is looked at.
import { randomUUID } from 'node:crypto'
import express, { type Express, type RequestHandler } from 'express'
import { HOST_API } from '../domain/host-api.ts'
import { REQUEST_BYTES } from '../domain/limits.ts'
import { agentRoutes } from './agents.ts'
import { requireKey } from './auth.ts'
import { buildRoutes } from './builds.ts'
import { identify } from './caller.ts'
import { checkpointListRoutes } from './checkpoint-list.ts'
import { checkpointRoutes } from './checkpoints.ts'
import type { ApiDeps } from './deps.ts'
import { environmentRoutes } from './environments.ts'
import { notFound, renderErrors } from './errors.ts'
import { eventRoutes } from './events.ts'
import { healthRoute } from './health.ts'
import { requireHost } from './host-auth.ts'
import { hostBuildRoutes } from './host-builds.ts'
import { hostRoutes } from './hosts.ts'
import { messageRoutes } from './messages.ts'
import { countRequests, metricsRoute } from './metrics.ts'
import { resultRoutes } from './results.ts'
import { runRoutes } from './runs.ts'
import { workerRoutes } from './workers.ts'

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
  app.use(countRequests(deps.metrics))
  app.get('/healthz', healthRoute(deps))
  app.get('/metrics', metricsRoute(deps))
  app.use(
    '/api/v1/agent',
    identify(deps),
    deps.tracing.requests,
    express.json({ limit: REQUEST_BYTES }),
    agentRoutes(deps),
    runRoutes(deps),
    environmentRoutes(deps),
    buildRoutes(deps),
    messageRoutes(deps),
    eventRoutes(deps),
    resultRoutes(deps),
    checkpointListRoutes(deps),
    workerRoutes(deps),
  )
  app.use(
    HOST_API,
    requireHost(deps),
    express.json({ limit: HOST_REQUEST_BYTES }),
    hostRoutes(deps),
    hostBuildRoutes(deps),
    checkpointRoutes(deps),
    nothing,
  )
  app.use(requireKey(deps.keys.admin), nothing)
  app.use(renderErrors(deps.log))
  return app
}

const nothing: RequestHandler = (request) => {
  throw notFound(`There is no ${request.method} ${request.originalUrl.split('?')[0]}.`)
}
