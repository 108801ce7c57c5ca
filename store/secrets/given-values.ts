// The values that runs were given, sealed: a run may say them for as long as its workspace is there, whatever becomes of the secrets.
import { sql } from 'kysely'
import type { Vault } from '../../domain/vault/vault.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { isForgotten } from '../runs/checkpoint-history.ts'
import type { ChosenSecret } from './run-secrets.ts'
import { secretContext } from './secrets.ts'

export interface GivenValue {
  secret: string
  version: number
  sealed: Buffer
}

export async function keepGiven(db: Queryable, runId: string, secrets: readonly ChosenSecret[]): Promise<void> {
  if (secrets.length === 0) return
  await db
    .insertInto('given_values')
    .values(secrets.map(({ uid, version, sealed }) => ({ run_id: runId, secret: uid, version, sealed })))
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

/** A fork begins with files of the other run, and what that one has written into them. */
export async function inheritGiven(tx: Tx, { from, to }: { from: string; to: string }): Promise<void> {
  await sql`
    insert into given_values (run_id, secret, version, sealed)
    select ${to}::uuid, secret, version, sealed from given_values where run_id = ${from}::uuid
  `.execute(tx)
}

export const givenValues = (db: Queryable, runId: string): Promise<GivenValue[]> =>
  db
    .selectFrom('given_values')
    .select(['secret', 'version', 'sealed'])
    .where('run_id', '=', runId)
    .orderBy('secret')
    .orderBy('version')
    .execute()

/** @throws {VaultError} where the key is not here. */
export const openGiven = (vault: Vault, { secret, sealed }: GivenValue): string =>
  vault.open(sealed, secretContext(secret))

/** Forgets those of runs that nobody will come back to. */
export async function dropOldGiven(db: Db, workspaceHours: number): Promise<void> {
  await sql`
    delete from given_values using runs where runs.id = given_values.run_id and ${isForgotten(workspaceHours)}
  `.execute(db)
}
