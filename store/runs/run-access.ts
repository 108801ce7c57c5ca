// What is to be known of a run before somebody is let near it, and which runs somebody sees.
import { type RawBuilder, type SqlBool, sql } from 'kysely'
import type { Ownership } from '../../domain/account.ts'
import type { Principal, ShareLevel } from '../../domain/permission.ts'
import type { Queryable } from '../database.ts'

export interface RunStanding {
  id: string
  team: string
  scope: Ownership['type']
  createdBy: Principal
  /** The most that is shared with whoever asks. */
  shared: ShareLevel | null
}

/** Somebody with whom runs may be shared. */
export interface Reader extends Principal {
  teams: readonly string[]
  /** The only team that their key is good for; null: any. */
  keyTeam: string | null
}

/** A share that is in force and is for them. For queries on `run_shares`. */
const isFor = ({ type, uid, teams, keyTeam }: Reader): RawBuilder<SqlBool> => {
  const isTheirs = sql`${type} = 'user' and person = ${uid}`
  const isOfKey = sql`(select shared.team from runs as shared where shared.id = run_shares.run_id) = ${keyTeam}`
  const byPerson = keyTeam === null ? isTheirs : sql`${isTheirs} and ${isOfKey}`
  return sql`(expires_at is null or expires_at > now()) and ((${byPerson}) or run_shares.team = any(${teams}::text[]))`
}

/** Null when there is no such run. */
export async function findStanding(db: Queryable, runId: string, who: Reader): Promise<RunStanding | null> {
  const { rows } = await sql<{
    id: string
    team: string
    scope: Ownership['type']
    created_by_type: Principal['type']
    created_by: string
    shared: ShareLevel | null
  }>`
    select id, team, scope, created_by_type, created_by, (
      select level from run_shares
      where run_id = runs.id and ${isFor(who)}
      -- 'view' comes after 'steer'.
      order by level
      limit 1
    ) as shared
    from runs where id = ${runId}
  `.execute(db)
  const [row] = rows
  if (!row) return null
  const { id, team, scope, shared } = row
  return { id, team, scope, shared, createdBy: { type: row.created_by_type, uid: row.created_by } }
}

/** Which runs of a team somebody sees: all of them, or those of the team and their own. */
export interface Visibility {
  team: string
  /** Null: all, as admins do. */
  own: Principal | null
}

/** For queries on `runs`. */
export const isVisible = ({ team, own }: Visibility): RawBuilder<SqlBool> =>
  own === null
    ? sql`runs.team = ${team}`
    : sql`runs.team = ${team} and (runs.scope = 'Team' or (runs.created_by = ${own.uid} and runs.created_by_type = ${own.type}))`

/** Runs of whatever team that are shared with this person, or with one of their teams. For queries on `runs`. */
export const isSharedWith = (who: Reader): RawBuilder<SqlBool> =>
  sql`runs.id in (select run_id from run_shares where ${isFor(who)})`
