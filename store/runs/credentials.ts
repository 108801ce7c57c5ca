// The credentials by which a run's sandbox reaches the model gateway. Only their hashes are kept.
import { randomBytes } from 'node:crypto'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { lockRun, refuseOlder } from '../locking.ts'
import { hashOfSecret } from '../secret-hash.ts'

/**
 * A new credential of an execution, in place of the one it had; and one for the
 * tools of its agent, beside those it had.
 * @throws {FencedError} when a newer execution has begun.
 */
export async function issueCredentials(
  db: Db,
  { runId, execution }: ExecutionRef,
): Promise<{ token: string; toolToken: string }> {
  const token = `amb_${randomBytes(32).toString('base64url')}`
  return await db.transaction().execute(async (tx) => {
    refuseOlder(await lockRun(tx, runId), execution)
    await tx
      .insertInto('run_credentials')
      .values({ run_id: runId, execution, token_hash: hashOfSecret(token) })
      .onConflict((conflict) =>
        conflict.columns(['run_id', 'execution']).doUpdateSet({ token_hash: hashOfSecret(token) }),
      )
      .execute()
    return { token, toolToken: await insertToolCredential(tx, { runId, execution }) }
  })
}

/** Whose credential this is; null when it is nobody's, or no longer. */
export async function findCredential(db: Queryable, token: string): Promise<ExecutionRef | null> {
  const row = await db
    .selectFrom('run_credentials')
    .select(['run_id as runId', 'execution'])
    .where('token_hash', '=', hashOfSecret(token))
    .executeTakeFirst()
  return row ?? null
}

export async function revokeCredentials(tx: Tx, runId: string): Promise<void> {
  await tx.deleteFrom('run_credentials').where('run_id', '=', runId).execute()
  await tx.deleteFrom('tool_credentials').where('run_id', '=', runId).execute()
}

/**
 * A credential by which the agent of an execution reaches its tools. Those that
 * it was given before stay good: which of them it took, nobody may know.
 * @throws {FencedError} when a newer execution has begun.
 */
export async function issueToolCredential(db: Db, { runId, execution }: ExecutionRef): Promise<string> {
  return await db.transaction().execute(async (tx) => {
    refuseOlder(await lockRun(tx, runId), execution)
    return await insertToolCredential(tx, { runId, execution })
  })
}

async function insertToolCredential(tx: Tx, { runId, execution }: ExecutionRef): Promise<string> {
  const token = `amt_${randomBytes(32).toString('base64url')}`
  await tx
    .insertInto('tool_credentials')
    .values({ token_hash: hashOfSecret(token), run_id: runId, execution })
    .execute()
  return token
}

/** As {@link findCredential}. */
export async function findToolCredential(db: Queryable, token: string): Promise<ExecutionRef | null> {
  const row = await db
    .selectFrom('tool_credentials')
    .select(['run_id as runId', 'execution'])
    .where('token_hash', '=', hashOfSecret(token))
    .executeTakeFirst()
  return row ?? null
}
