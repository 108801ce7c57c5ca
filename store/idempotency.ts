// What was answered to a request, so that the same request sent again is answered alike and done once.
import { sql } from 'kysely'
import type { Queryable, Tx } from './database.ts'
import { jsonb } from './json.ts'

export interface KeptAnswer {
  status: number
  response: unknown
}

/**
 * How long a request without a key can be recognised as sent again. Clients
 * wait up to 60 s for an answer before they try again, twice.
 */
const RESENT_SECONDS = 180

/** Answers are kept for a day, then their keys may be used anew. */
const KEPT_HOURS = 24

/**
 * Makes equal requests wait until the transaction ends, so that one that comes
 * again finds the first one's answer. Those that come `among equals` wait for
 * one that is `alone`, and not for each other: they are others, that say the same.
 */
export async function lockRequest(tx: Tx, scope: string, what: string, how: 'alone' | 'among equals'): Promise<void> {
  const lock = sql.ref(how === 'alone' ? 'pg_advisory_xact_lock' : 'pg_advisory_xact_lock_shared')
  await sql`select ${lock}(hashtextextended(${`${scope}\n${what}`}, 0))`.execute(tx)
}

/** The answer kept under a key, with the hash of the body it was given for. */
export async function answerByKey(
  tx: Tx,
  scope: string,
  key: string,
): Promise<(KeptAnswer & { bodyHash: string }) | null> {
  const row = await tx
    .selectFrom('idempotency')
    .select(['body_hash as bodyHash', 'status', 'response'])
    .where('scope', '=', scope)
    .where('key', '=', key)
    .executeTakeFirst()
  return row ?? null
}

/** The newest answer to the same body whose sender may never have got it. */
export async function lostAnswer(
  tx: Tx,
  scope: string,
  bodyHash: string,
): Promise<(KeptAnswer & { key: string }) | null> {
  const row = await tx
    .selectFrom('idempotency')
    .select(['key', 'status', 'response'])
    .where('scope', '=', scope)
    .where('body_hash', '=', bodyHash)
    .where('answered_at', 'is', null)
    .where('created_at', '>', sql<Date>`now() - make_interval(secs => ${RESENT_SECONDS})`)
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row ?? null
}

export async function keepAnswer(
  tx: Tx,
  entry: KeptAnswer & { scope: string; key: string; bodyHash: string },
): Promise<void> {
  const { scope, key, bodyHash, status, response } = entry
  await tx
    .insertInto('idempotency')
    .values({ scope, key, body_hash: bodyHash, status, response: jsonb(response) })
    .execute()
}

/** Notes whether the answer has reached its sender, as far as can be seen from here. */
export async function markAnswered(db: Queryable, scope: string, key: string, answered: boolean): Promise<void> {
  await db
    .updateTable('idempotency')
    .set({ answered_at: answered ? sql`now()` : null })
    .where('scope', '=', scope)
    .where('key', '=', key)
    .execute()
}

export async function dropOldAnswers(db: Queryable): Promise<void> {
  await db
    .deleteFrom('idempotency')
    .where('created_at', '<', sql<Date>`now() - make_interval(hours => ${KEPT_HOURS})`)
    .execute()
}
