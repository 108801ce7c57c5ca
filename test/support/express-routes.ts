// Which routes an Express application has, taken from its routers.
import type { Express } from 'express'

export interface ExpressRoute {
  method: string
  /** As it is mounted: `/api/v1/agent/runs/:runId`. */
  path: string
}

interface Layer {
  rawPath?: string | string[]
  route?: { path: string | string[]; stack: { method?: string }[] }
  handle: { stack?: Layer[] }
}

export function routesOf(app: Express): ExpressRoute[] {
  return [...walk((app as unknown as { router: { stack: Layer[] } }).router.stack, '')]
}

function* walk(layers: readonly Layer[], mount: string): Generator<ExpressRoute> {
  for (const { rawPath, route, handle } of layers) {
    if (route) {
      for (const path of [route.path].flat()) {
        // A handler for all methods says which there are; it is no route.
        const methods = new Set(route.stack.flatMap(({ method }) => (method === undefined ? [] : [method])))
        for (const method of methods) yield { method, path: joined(mount, path) }
      }
    } else if (handle.stack) {
      for (const path of [rawPath ?? '/'].flat()) yield* walk(handle.stack, joined(mount, path))
    }
  }
}

const joined = (mount: string, path: string) => `${mount.replace(/\/$/, '')}${path === '/' ? '' : path}` || '/'
