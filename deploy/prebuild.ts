// What the image does once, so that no container has to: the workflows' bundles, and compiled code in NODE_COMPILE_CACHE.
import { dataPaths, loadConfig } from '../config.ts'
import { TRACING_MODULE } from '../telemetry/tracing.ts'
import { workflowBundle } from '../workers/bundle.ts'
import { createLog } from '../workers/log.ts'

const config = loadConfig()
const { cache } = dataPaths(config)
const log = createLog(config, 'build')
// Whether traces are made is known only when a container starts.
await workflowBundle(cache, [], log)
await workflowBundle(cache, [TRACING_MODULE], log)
// Loading a module compiles it; none of these does anything before its `main` is called.
await Promise.all([
  import('../cli/program.ts'),
  import('../workers/server.ts'),
  import('../workers/gateway.ts'),
  import('../workers/orchestrator.ts'),
  import('../workers/host.ts'),
])
