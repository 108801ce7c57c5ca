// Helper: makes the bundle of the workflows where it is missing, which a worker's memory would long remember.
import { dataPaths, loadConfig } from '../../config.ts'
import { workflowInterceptorModules } from '../../telemetry/tracing.ts'
import { workflowBundle } from '../bundle.ts'
import { createLog } from '../log.ts'
import { helperMain } from './helper.ts'

const config = loadConfig()
// What the bundler says below an error is of no use here, and stdout belongs to the helper's messages.
const log = createLog({ AMBIENT_LOG: 'error' }, 'bundle')
log.level = 'silent'
await helperMain(async () => {
  await workflowBundle(dataPaths(config).cache, workflowInterceptorModules(config), log)
})
