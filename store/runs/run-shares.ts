// With whom runs are shared, beside their teams.
import { type Selectable, sql } from 'kysely'
import type { Principal, ShareLevel } from '../../domain/permission.ts'
import type { ShareItem } from '../../domain/share.ts'
import { tellAccessChanged } from '../accounts/access-channel.ts'
import { profileIn, profilesOf } from '../accounts/principals.ts'
import type { Queryable, Tx } from '../database.ts'
import type { RunSharesTable } from '../schema.ts'
import { hashOfSecret } from '../secret-hash.ts'
import { newUid } from '../uid.ts'

export type ShareTarget =
  | { with: 'person'; person: string }
  | { with: 'team'; team: string }
  /** The token itself is not kept. */
  | { with: 'link'; token: string; isPublic: boolean }

/** Shares a run, in the place of what whoever is meant had of it. */
export async function shareRun(
  tx: Tx,
  share: { runId: string; target: ShareTarget; level: ShareLevel; expiresAt: Date | null; by: Principal },
): Promise<ShareItem> {
  const { runId, target, level, expiresAt, by } = share
  const row = {
    person: target.with === 'person' ? target.person : null,
    team: target.with === 'team' ? target.team : null,
    token_hash: target.with === 'link' ? hashOfSecret(target.token) : null,
    is_public: target.with === 'link' && target.isPublic,
  }
  if (target.with !== 'link') {
    await tx
      .deleteFrom('run_shares')
      .where('run_id', '=', runId)
      .where(target.with, '=', target.with === 'person' ? target.person : target.team)
      .execute()
  }
  const made = await tx
    .insertInto('run_shares')
    .values({
      ...row,
      uid: newUid(),
      run_id: runId,
      shared_with: target.with,
      level,
      expires_at: expiresAt,
      created_by_type: by.type,
      created_by: by.uid,
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  const [item] = await serve(tx, [made])
  if (!item) throw new TypeError('every row is served')
  return item
}

/** Those that are in force, the oldest first. */
export async function listShares(db: Queryable, runId: string): Promise<ShareItem[]> {
  const rows = await db
    .selectFrom('run_shares')
    .selectAll()
    .where('run_id', '=', runId)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', sql<Date>`now()`)]))
    .orderBy('created_at')
    .orderBy('uid')
    .execute()
  return serve(db, rows)
}

/** Null when the run has no such share. */
export async function unshareRun(tx: Tx, runId: string, uid: string): Promise<ShareItem | null> {
  const row = await tx
    .deleteFrom('run_shares')
    .where('run_id', '=', runId)
    .where('uid', '=', uid)
    .returningAll()
    .executeTakeFirst()
  if (!row) return null
  await tellAccessChanged(tx)
  const [item] = await serve(tx, [row])
  return item ?? null
}

async function serve(db: Queryable, rows: readonly Selectable<RunSharesTable>[]): Promise<ShareItem[]> {
  const people = rows.flatMap(({ person }): Principal[] => (person === null ? [] : [{ type: 'user', uid: person }]))
  const makers = rows.map(({ created_by_type: type, created_by: uid }): Principal => ({ type, uid }))
  const profiles = await profilesOf(db, [...people, ...makers])
  const teams = await teamNames(
    db,
    rows.flatMap(({ team }) => (team === null ? [] : [team])),
  )
  return rows.map((row) => ({
    uid: row.uid,
    run_id: row.run_id,
    with: row.shared_with,
    person: row.person === null ? null : profileIn(profiles, { type: 'user', uid: row.person }),
    team: row.team === null ? null : { uid: row.team, name: teams.get(row.team) ?? row.team },
    level: row.level,
    public: row.is_public,
    expires_at: row.expires_at?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
    created_by: profileIn(profiles, { type: row.created_by_type, uid: row.created_by }),
  }))
}

async function teamNames(db: Queryable, teams: readonly string[]): Promise<Map<string, string>> {
  if (teams.length === 0) return new Map()
  const rows = await db.selectFrom('teams').select(['name', 'display_name']).where('name', 'in', teams).execute()
  return new Map(rows.map(({ name, display_name }) => [name, display_name]))
}
