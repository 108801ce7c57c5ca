// What the image does once, so that no container has to: the workflows' bundle, and compiled code in NODE_COMPILE_CACHE.
import { dataPaths, loadConfig } from '../config.ts'
import { workflowBundle } from '../workers/bundle.ts'
import { createLog } from '../workers/log.ts'

const config = loadConfig()
await workflowBundle(dataPaths(config).cache, createLog(config, 'build'))
// Loading a module compiles it; none of these does anything before its `main` is called.
await Promise.all([
  import('../cli/program.ts'),
  import('../workers/server.ts'),
  import('../workers/gateway.ts'),
  import('../workers/orchestrator.ts'),
  import('../workers/host.ts'),
])
