// The server: the HTTP API, and the hand-over of mail to the workflows.
import { createApp } from '../api/app.ts'
import { createBuildStarter } from '../api/build-starter.ts'
import { attendBuilds, makeBuildUpkeep } from '../api/build-upkeep.ts'
import { createDispatcher } from '../api/dispatcher.ts'
import { attendQueue } from '../api/queue-upkeep.ts'
import { registerSearchAttributes } from '../api/search-attributes.ts'
import { serve } from '../api/serve.ts'
import { loadConfig, version } from '../config.ts'
import { dropOldBuilds } from '../store/build-upkeep.ts'
import { dropOldCheckpoints } from '../store/checkpoint-history.ts'
import { createDatabase } from '../store/database.ts'
import { readFigures } from '../store/figures.ts'
import { dropOldAnswers } from '../store/idempotency.ts'
import { createEventListener } from '../store/listener.ts'
import { migrate } from '../store/migrate.ts'
import { DEFAULT_TEAM, setRunLimit } from '../store/teams.ts'
import { createRegistry } from '../telemetry/registry.ts'
import { createServerMetrics } from '../telemetry/server-metrics.ts'
import { startTracing } from '../telemetry/tracing.ts'
import { connectClient } from '../temporal.ts'
import { adminKey, workerKey } from './keys.ts'
import { createLog } from './log.ts'
import { stopSignal } from './start/stop-signal.ts'

const UPKEEP_MS = 60 * 60 * 1000

export async function main(): Promise<void> {
  const config = loadConfig()
  const log = createLog(config, 'server')
  const stop = stopSignal()
  const database = createDatabase(config, { connections: 15 })
  const { db } = database
  const applied = await migrate(db)
  if (applied.length > 0) log.info({ applied }, 'migrated the database')
  await setRunLimit(db, DEFAULT_TEAM, config.AMBIENT_TEAM_RUNS)
  const keys = { admin: await adminKey(config), worker: await workerKey(config) }
  const tracing = await startTracing('server', version, config)
  const client = connectClient(config, tracing.clientInterceptors)
  const attributes = registerSearchAttributes({ client, log })
  const metrics = createServerMetrics(createRegistry('server', version), () => readFigures(db))
  const dispatcher = createDispatcher({ db, client, attributes, metrics, tracing, log })
  const builds = createBuildStarter({ db, client, attributes, config, log })
  const onError = (error: Error) =>
    log.warn({ reason: error.message }, 'the connection for events is broken; connecting again')
  const listener = createEventListener({ url: database.url, onMail: dispatcher.nudgeFirst, onError })
  const closing = new AbortController()
  const app = createApp({
    config,
    db,
    client,
    listener,
    dispatcher,
    builds,
    keys,
    metrics,
    tracing,
    log,
    closing: closing.signal,
  })
  const upkeep = setInterval(() => {
    Promise.all([dropOldAnswers(db), dropOldBuilds(db), dropOldCheckpoints(db, config.AMBIENT_WORKSPACE_HOURS)]).catch(
      (error: unknown) => log.warn({ reason: String(error) }, 'the hourly upkeep failed'),
    )
  }, UPKEEP_MS)

  const leaveQueue = attendQueue({ db, client, log })
  const leaveBuilds = attendBuilds(makeBuildUpkeep({ db, client, builds, log }), log)

  const serving = await serve(app, config.AMBIENT_PORT, config.AMBIENT_BIND)
  log.info({ address: serving.address }, 'listening')

  log.info({ signal: await stop.received }, 'stopping')
  clearInterval(upkeep)
  leaveQueue()
  leaveBuilds()
  closing.abort()
  await serving.drain()
  attributes.close()
  await Promise.all([dispatcher.close(), builds.close()])
  await tracing.close()
  await Promise.all([listener.close(), client.connection.close()])
  await database.close()
}
