// `/metrics` of the server, and the counting of its requests.
import type { RequestHandler } from 'express'
import type { ServerMetrics } from '../telemetry/server-metrics.ts'
import type { Attempts } from './access/attempts.ts'
import { requireKey } from './access/auth.ts'
import type { ApiDeps } from './deps.ts'

/** The admin key opens it, and so does the one that was made for it. */
export function metricsRoute({
  metrics,
  keys,
  config,
  attempts,
}: Pick<ApiDeps, 'metrics' | 'keys' | 'config'> & { attempts: Attempts }): RequestHandler[] {
  const own = config.AMBIENT_METRICS_KEY
  return [
    requireKey(attempts, keys.admin, ...(own === undefined ? [] : [own])),
    async (_request, response) => {
      await metrics.refresh()
      response.type(metrics.registry.contentType).send(await metrics.registry.metrics())
    },
  ]
}

/** Counts each request when its answer is out, by the route that it took and not by what the path held. */
export function countRequests({ requests, requestSeconds }: ServerMetrics): RequestHandler {
  return (request, response, next) => {
    const started = performance.now()
    response.once('close', () => {
      const { method } = request
      const route = routeOf(request)
      requests.inc({ method, route, status: String(response.statusCode) })
      // A stream is as long as its run.
      if (String(response.getHeader('content-type')).startsWith('text/event-stream')) return
      requestSeconds.observe({ method, route }, (performance.now() - started) / 1000)
    })
    next()
  }
}

/** `none` for what no route has taken: a wrong key, or a path that is not there. */
const routeOf = (request: Parameters<RequestHandler>[0]): string => {
  const path: unknown = request.route?.path
  return typeof path === 'string' ? `${request.baseUrl}${path}` : 'none'
}
