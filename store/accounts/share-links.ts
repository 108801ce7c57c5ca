// Runs that are shared by link: whoever has the link's token gets at its run, and at nothing else.
import { sql } from 'kysely'
import type { ShareLevel } from '../../domain/permission.ts'
import type { Queryable } from '../database.ts'
import { hashOfSecret } from '../secret-hash.ts'

export interface ShareLink {
  uid: string
  runId: string
  /** Of the run. */
  team: string
  level: ShareLevel
  /** Good for viewing also by somebody who has not signed in. */
  isPublic: boolean
}

/** What a token is good for; null where it is none, or is over. */
export async function findShareLink(db: Queryable, token: string): Promise<ShareLink | null> {
  const row = await db
    .selectFrom('run_shares')
    .innerJoin('runs', 'runs.id', 'run_shares.run_id')
    .select(['run_shares.uid', 'run_id', 'runs.team', 'level', 'is_public'])
    .where('token_hash', '=', hashOfSecret(token))
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', sql<Date>`now()`)]))
    .executeTakeFirst()
  return row ? { uid: row.uid, runId: row.run_id, team: row.team, level: row.level, isPublic: row.is_public } : null
}
