// Charges for sandboxes, by their size and the time they are there.
import { type Selectable, sql } from 'kysely'
import type { MoneyRules } from '../../domain/money/rules.ts'
import type { Db, Tx } from '../database.ts'
import { isLive } from '../hosts/hosts.ts'
import type { SandboxMetersTable } from '../schema.ts'
import { chargeRun } from './charge.ts'
import { nowBy } from './places.ts'

/** Slices of a sandbox that goes on, in seconds: a server that dies leaves no more than one of them for its successor. */
export const SLICE_SECONDS = 60

/**
 * Charges what is due: a slice of each sandbox that was not charged for so long,
 * and the rest of each that is gone. Safe on several servers at once.
 * @returns how many charges were made.
 */
export async function chargeSandboxes(db: Db, rules: MoneyRules): Promise<number> {
  for (let charges = 0; ; charges++) {
    const wasDue = await db.transaction().execute((tx) => chargeNext(tx, rules))
    if (!wasDue) return charges
  }
}

type DueMeter = Selectable<SandboxMetersTable> & { seconds: number; host_is_live: boolean }

async function chargeNext(tx: Tx, rules: MoneyRules): Promise<boolean> {
  const now = nowBy(rules)
  // A sandbox of a host that is not heard of is charged up to when it was: it may be gone since.
  const until = sql`coalesce(ended_at, case when ${isLive} then ${now} else hosts.reported_at end, ${now})`
  const { rows } = await sql<DueMeter>`
    select sandbox_meters.*,
      greatest(charged_seconds, floor(extract(epoch from ${until} - began_at)))::bigint as seconds
    from sandbox_meters join runs on runs.id = sandbox_meters.run_id left join hosts on hosts.id = sandbox_meters.host_id
    where not is_settled
      and (ended_at is not null or charged_at <= ${now} - make_interval(secs => ${SLICE_SECONDS}))
    order by charged_at
    limit 1
    -- Not while its run changes: what ends a run or its sandbox writes into the same rows, in another order.
    for no key update of runs, sandbox_meters skip locked
  `.execute(tx)
  const [meter] = rows
  if (!meter) return false
  const { id, cpus, memory_mb: memoryMb, charged_seconds: before, seconds, remainder } = meter
  const size = { cpus: cpus ?? rules.usualSize.cpus, memoryMb: memoryMb ?? rules.usualSize.memoryMb }
  // Whole millionths; what is left of one is charged with the next slice.
  const owed = remainder + (seconds - before) * hourly(rules, size)
  const microUsd = Math.floor(owed / 3600)
  await tx
    .updateTable('sandbox_meters')
    .set({
      charged_seconds: seconds,
      remainder: owed % 3600,
      charged_at: now,
      is_settled: meter.ended_at !== null,
    })
    .where('id', '=', id)
    .execute()
  if (seconds > before)
    await chargeRun(tx, rules, {
      key: `compute/${id}/${before}`,
      kind: 'compute',
      runId: meter.run_id,
      execution: meter.execution,
      microUsd,
      microCredits: microUsd * rules.creditsPerDollar,
      tokens: 0,
      seconds: seconds - before,
      isUnpriced: false,
      detail: { seconds: seconds - before, cpus: size.cpus, memory_mb: size.memoryMb },
    })
  return true
}

/** In whole millionths of a dollar. */
export const hourly = (
  { compute }: Pick<MoneyRules, 'compute'>,
  { cpus, memoryMb }: { cpus: number; memoryMb: number },
): number => Math.round(cpus * compute.cpuHour + (memoryMb / 1024) * compute.gibHour)
