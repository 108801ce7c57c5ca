// The server: the HTTP API, and the hand-over of mail to the workflows.
import type { Logger } from 'pino'
import { createApp } from '../api/app.ts'
import { createBuildStarter } from '../api/builds/build-starter.ts'
import { attendBuilds, makeBuildUpkeep } from '../api/builds/build-upkeep.ts'
import { createDispatcher } from '../api/dispatcher.ts'
import { attendMoney } from '../api/money/send-on.ts'
import { attendQueue } from '../api/queue-upkeep.ts'
import { createScheduleClock } from '../api/schedules/schedule-clock.ts'
import { createScheduleKeeper } from '../api/schedules/schedule-keeper.ts'
import { registerSearchAttributes } from '../api/search-attributes.ts'
import { serve } from '../api/serve.ts'
import { createSkillReader } from '../api/skills/skill-reader.ts'
import { loadConfig, version, webhookAllowed } from '../config.ts'
import { createObjectStore } from '../objects/create.ts'
import { dropContents } from '../objects/upkeep.ts'
import { createVault } from '../secrets/vault/vault.ts'
import { dropOldSessions } from '../store/accounts/sessions.ts'
import { setRunLimit } from '../store/accounts/teams.ts'
import { auditHead } from '../store/audit.ts'
import { dropOldBuilds } from '../store/builds/build-upkeep.ts'
import { createDatabase, type Db } from '../store/database.ts'
import { readFigures } from '../store/figures.ts'
import { dropOldAnswers } from '../store/idempotency.ts'
import { createEventListener } from '../store/listener.ts'
import { migrate } from '../store/migrate.ts'
import { dropOldCheckpoints } from '../store/runs/checkpoint-history.ts'
import { fillSearch } from '../store/runs/run-search.ts'
import { dropOldSlots } from '../store/schedules/schedule-slots.ts'
import { dropOldGiven } from '../store/secrets/given-values.ts'
import { dropOldDeliveries } from '../store/webhook-deliveries.ts'
import { createRegistry } from '../telemetry/registry.ts'
import { createServerMetrics } from '../telemetry/server-metrics.ts'
import { startTracing } from '../telemetry/tracing.ts'
import { connectClient } from '../temporal.ts'
import { createWebhookSender } from '../webhooks/sender.ts'
import { adminKey, linkKey, workerKey } from './keys.ts'
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
  await setRunLimit(db, config.AMBIENT_TEAM_RUNS)
  const keys = { admin: await adminKey(config), worker: await workerKey(config), links: await linkKey(config) }
  const vault = await createVault(config)
  if (vault.ring.trouble !== null) log.error({ reason: vault.ring.trouble }, 'secrets cannot be stored or opened')
  const objects = createObjectStore(config)
  const tracing = await startTracing('server', version, config)
  const client = connectClient(config, tracing.clientInterceptors)
  const attributes = registerSearchAttributes({ client, log })
  const metrics = createServerMetrics(createRegistry('server', version), () => readFigures(db))
  const dispatcher = createDispatcher({ db, client, attributes, metrics, tracing, log })
  const builds = createBuildStarter({ db, client, attributes, config, log })
  const onError = (error: Error) =>
    log.warn({ reason: error.message }, 'the connection for events is broken; connecting again')
  const scheduleClock = createScheduleClock(client, attributes)
  const schedules = createScheduleKeeper({ db, clock: scheduleClock, dispatcher, config, log })
  const skills = createSkillReader({ db, client, config, log })
  const webhooks = createWebhookSender({
    db,
    key: keys.links,
    allowed: webhookAllowed(config),
    hours: config.AMBIENT_WEBHOOK_HOURS,
    disableDays: config.AMBIENT_WEBHOOK_DISABLE_DAYS,
    log,
  })
  const listener = createEventListener({
    url: database.url,
    onMail: dispatcher.nudgeFirst,
    onWebhook: webhooks.nudge,
    onSlot: schedules.nudge,
    onError,
  })
  const closing = new AbortController()
  const app = createApp({
    config,
    db,
    client,
    listener,
    dispatcher,
    builds,
    webhooks,
    schedules,
    skills,
    scheduleClock,
    keys,
    vault,
    objects,
    metrics,
    tracing,
    log,
    closing: closing.signal,
  })
  const upkeep = setInterval(() => {
    Promise.all([
      dropOldAnswers(db),
      dropOldSessions(db, config.AMBIENT_SESSION_IDLE_MINUTES),
      logAuditHead(db, log),
      dropOldDeliveries(db),
      dropOldSlots(db),
      fillSearch(db),
      dropOldBuilds(db),
      dropOldCheckpoints(db, config.AMBIENT_WORKSPACE_HOURS),
      dropOldGiven(db, config.AMBIENT_WORKSPACE_HOURS),
      dropContents(db, objects, config.AMBIENT_ARTIFACT_DAYS),
    ]).catch((error: unknown) => log.warn({ reason: String(error) }, 'the hourly upkeep failed'))
  }, UPKEEP_MS)

  const leaveQueue = attendQueue({ db, client, log })
  const leaveMoney = attendMoney({ db, config, dispatcher, log })
  const leaveBuilds = attendBuilds(makeBuildUpkeep({ db, client, builds, log }), log)

  const serving = await serve(app, config.AMBIENT_PORT, config.AMBIENT_BIND)
  log.info({ address: serving.address }, 'listening')

  log.info({ signal: await stop.received }, 'stopping')
  clearInterval(upkeep)
  leaveQueue()
  leaveMoney()
  leaveBuilds()
  closing.abort()
  await serving.drain()
  attributes.close()
  await Promise.all([dispatcher.close(), builds.close(), webhooks.close(), schedules.close(), skills.close()])
  await tracing.close()
  await Promise.all([listener.close(), client.connection.close()])
  await database.close()
}

/** In the log, which is not in the database: by it a change of the whole audit log shows (`ambient audit verify --known`). */
async function logAuditHead(db: Db, log: Logger): Promise<void> {
  const { position, hash } = await auditHead(db)
  if (position > 0) log.info({ known: `${position}:${hash}` }, 'the newest entry of the audit log')
}
