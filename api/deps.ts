// What the routes are made with.
import type { Client } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import type { ObjectStore } from '../objects/object-store.ts'
import type { KeyVault } from '../secrets/vault/vault.ts'
import type { Db } from '../store/database.ts'
import type { EventListener } from '../store/listener.ts'
import type { ServerMetrics } from '../telemetry/server-metrics.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import type { WebhookSender } from '../webhooks/sender.ts'
import type { BuildStarter } from './builds/build-starter.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { ScheduleClock } from './schedules/schedule-clock.ts'
import type { ScheduleKeeper } from './schedules/schedule-keeper.ts'
import type { SkillReader } from './skills/skill-reader.ts'

export interface ApiDeps {
  config: Config
  db: Db
  client: Client
  listener: EventListener
  dispatcher: Dispatcher
  builds: Pick<BuildStarter, 'nudge'>
  schedules: Pick<ScheduleKeeper, 'nudge' | 'settled'>
  skills: Pick<SkillReader, 'nudge'>
  scheduleClock: Pick<ScheduleClock, 'times'>
  webhooks: Pick<WebhookSender, 'nudge'>
  keys: { admin: string; worker: string; links: string }
  /** What seals and opens secret values. */
  vault: KeyVault
  /** Where the contents of artifacts and attachments are. */
  objects: ObjectStore
  metrics: ServerMetrics
  tracing: Pick<Tracing, 'requests'>
  log: Logger
  /** Aborted when the server stops: open streams end, and their readers come back to its successor. */
  closing: AbortSignal
}
