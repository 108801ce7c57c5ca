// Workers say that they live. Temporal knows of a worker that was stopped or cut off only when its last poll is over, a minute later.
import { sql } from 'kysely'
import type { Db } from '../database.ts'

/** `pg_notify` channel; nothing is stored. */
export const PRESENCE_CHANNEL = 'ambient_presence'

const SAY_MS = 3_000

/** After three words that did not come, a worker hangs or is gone. In milliseconds. */
export const PRESENCE_MS = 10_000

/** Says it at once and then every 3 s; returns what ends it. A database that is away misses nothing that matters. */
export function sayPresent(db: Db): () => void {
  const say = () => void sql`select pg_notify(${PRESENCE_CHANNEL}, '')`.execute(db).catch(() => {})
  say()
  const timer = setInterval(say, SAY_MS)
  return () => clearInterval(timer)
}
