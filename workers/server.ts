// The server: the HTTP API, and the hand-over of mail to the workflows.
import { createApp } from '../api/app.ts'
import { createDispatcher } from '../api/dispatcher.ts'
import { serve } from '../api/serve.ts'
import { loadConfig } from '../config.ts'
import { createDatabase } from '../store/database.ts'
import { dropOldAnswers } from '../store/idempotency.ts'
import { createEventListener } from '../store/listener.ts'
import { migrate } from '../store/migrate.ts'
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
  const keys = { admin: await adminKey(config), worker: await workerKey(config) }
  const client = connectClient(config)
  const dispatcher = createDispatcher({ db, client, log })
  const onError = (error: Error) =>
    log.warn({ reason: error.message }, 'the connection for events is broken; connecting again')
  const listener = createEventListener({ url: database.url, onError })
  const closing = new AbortController()
  const app = createApp({ config, db, client, listener, dispatcher, keys, log, closing: closing.signal })
  const upkeep = setInterval(() => {
    dropOldAnswers(db).catch((error: unknown) => log.warn({ reason: String(error) }, 'the hourly upkeep failed'))
  }, UPKEEP_MS)

  const serving = await serve(app, config.AMBIENT_PORT, config.AMBIENT_BIND)
  log.info({ address: serving.address }, 'listening')

  log.info({ signal: await stop.received }, 'stopping')
  clearInterval(upkeep)
  closing.abort()
  await serving.drain()
  await dispatcher.close()
  await Promise.all([listener.close(), client.connection.close()])
  await database.close()
}
