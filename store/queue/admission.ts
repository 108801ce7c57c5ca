// Who is let in: decided here alone, under one lock, whenever a place is asked for or given back.
import { type RawBuilder, type SqlBool, sql } from 'kysely'
import type { Db, Queryable, Tx } from '../database.ts'
import { isLive } from '../hosts/hosts.ts'
import { lockLine } from '../locking.ts'
import { tellWorkflow } from '../runs/mail.ts'
import { lineOf, turnOrder } from './line.ts'

/** Most runs that are let in under one lock: others want to end or begin meanwhile. */
const BATCH = 50

/**
 * Puts an execution in line and lets it in where there is room for it: whoever
 * waited was let in as soon as there was room for them, so it overtakes nobody.
 * True when it was let in, which needs no mail then. The caller holds the run's lock.
 */
export async function takePlace(
  tx: Tx,
  newcomer: { runId: string; execution: number; heldBy: string | null; mail: readonly string[] },
): Promise<boolean> {
  await lockLine(tx)
  await joinLine(tx, newcomer)
  if ((await letNextIn(tx, sql`places.run_id = ${newcomer.runId}`)) !== null) return true
  await askForSandboxes(tx)
  return false
}

/** A run that keeps its sandbox keeps its share of the host's capacity with it. */
async function joinLine(tx: Tx, { runId, execution, heldBy, mail }: Parameters<typeof takePlace>[1]): Promise<void> {
  await sql`
    insert into places (
      run_id, execution, stage, takes_capacity, host_id,
      pool, team, priority, concurrency_group, concurrency_limit, environment_id, arrival
    )
    select id, ${execution}, 'waiting', false, ${heldBy}, pool, team, priority, concurrency_group, concurrency_limit,
      environment_id,
      (select coalesce(min(position), 0) from mail where mail.run_id = runs.id and mail.id = any(${mail}::uuid[])
        and mail.kind = 'prompt' and mail.accepted_at is null)
    from runs
    where id = ${runId}
    on conflict (run_id) do update set
      execution = excluded.execution, stage = excluded.stage, since = now(), host_id = excluded.host_id,
      takes_capacity = places.takes_capacity and coalesce(places.host_id = excluded.host_id, false),
      arrival = excluded.arrival, release_asked_at = null
  `.execute(tx)
}

/** Lets one of these in and returns it; null when nobody can be. The caller holds the line's lock. */
async function letNextIn(tx: Tx, which?: RawBuilder<SqlBool>): Promise<{ runId: string; execution: number } | null> {
  const { rows } = await sql<{ run_id: string; execution: number }>`
    ${lineOf(which)}
    update places set stage = 'working', takes_capacity = true, since = now()
    where run_id = (select run_id from line where blocked_by is null order by ${turnOrder} limit 1)
    returning run_id, execution
  `.execute(tx)
  const [next] = rows
  return next ? { runId: next.run_id, execution: next.execution } : null
}

/** After something was given back, or hosts have come: lets in who can be. Returns how many. The caller holds the line's lock. */
export async function moveLine(tx: Tx): Promise<number> {
  // To look who could go takes Postgres some milliseconds, and mostly nobody waits.
  if (!(await hasWaiting(tx))) return 0
  for (let count = 0; count < BATCH; count++) {
    const next = await letNextIn(tx)
    if (next === null) {
      await askForSandboxes(tx)
      return count
    }
    await tellWorkflow(tx, next.runId, 'admit', next.execution)
  }
  return BATCH
}

/** Looks at the line when nobody has come or gone: hosts may have. */
export async function keepLineMoving(db: Db): Promise<void> {
  for (let count = BATCH; count === BATCH; ) {
    if (!(await hasWaiting(db))) return
    count = await db.transaction().execute(async (tx) => {
      await lockLine(tx)
      return moveLine(tx)
    })
  }
}

async function hasWaiting(db: Queryable): Promise<boolean> {
  const waiting = await db.selectFrom('places').select('run_id').where('stage', '=', 'waiting').limit(1).execute()
  return waiting.length > 0
}

/** A workflow that was asked for its sandbox and has not given it up after this long is not counted on. */
const RELEASE_SECONDS = 60

/**
 * Sandboxes that are kept for a follow-up must not keep others waiting: as many
 * as are needed are asked for, those that have been idle longest first. Their
 * workflows give them up, workspaces are kept.
 */
async function askForSandboxes(tx: Tx): Promise<void> {
  const idle = await idleSandboxes(tx)
  if (idle.every(({ asked }) => asked !== 'never')) return
  for (const { pool, host_id: host, runs } of await waitingForCapacity(tx)) {
    const there = idle.filter((place) => place.pool === pool && (host === null || place.host_id === host))
    const coming = there.filter(({ asked }) => asked === 'lately').length
    const unasked = there.filter(({ asked }) => asked === 'never')
    for (const place of unasked.slice(0, Math.max(0, runs - coming))) {
      place.asked = 'lately'
      await tx.updateTable('places').set({ release_asked_at: sql`now()` }).where('run_id', '=', place.run_id).execute()
      await tellWorkflow(tx, place.run_id, 'release', place.execution)
    }
  }
}

interface IdleSandbox {
  run_id: string
  execution: number
  pool: string
  host_id: string
  asked: 'never' | 'lately' | 'long ago'
}

/** The longest idle first; only on hosts that can do something about it. */
async function idleSandboxes(tx: Tx): Promise<IdleSandbox[]> {
  const { rows } = await sql<IdleSandbox>`
    select places.run_id, places.execution, hosts.pool, places.host_id,
      case
        when release_asked_at is null then 'never'
        when release_asked_at > now() - make_interval(secs => ${RELEASE_SECONDS}) then 'lately'
        else 'long ago'
      end as asked
    from places
    join hosts on hosts.id = places.host_id and ${isLive}
    where places.stage = 'idle' and places.takes_capacity
    order by places.since
  `.execute(tx)
  return rows
}

/** How many could begin at once if their pool, or the one host they can go to, had room: no more of a team than its limit allows. */
async function waitingForCapacity(tx: Tx): Promise<{ pool: string; host_id: string | null; runs: number }[]> {
  const { rows } = await sql<{ pool: string; host_id: string | null; runs: number }>`
    ${lineOf()}
    select pool, host_id, sum(runs)::integer as runs
    from (
      select pool, host_id, least(count(*), max(team_limit - team_working)) as runs
      from line
      where blocked_by in ('pool', 'host')
      group by pool, host_id, team
    ) as of_a_team
    group by pool, host_id
  `.execute(tx)
  return rows
}
