// What is counted for metrics.
import { sql } from 'kysely'
import type { BuildState } from '../domain/environment.ts'
import type { Figures, RecordedChange } from '../domain/figures.ts'
import { fromMicro } from '../domain/money/money.ts'
import type { StateChange } from '../workflows/contract.ts'
import type { Queryable } from './database.ts'
import { workerState } from './hosts/workers.ts'
import { ALL_MONTHS } from './money/places.ts'
import type { SpendingTable } from './schema.ts'

/** Changes of a run's state that have been recorded together, each with what it was a change from. */
export async function describeChanges(db: Queryable, changes: readonly StateChange[]): Promise<RecordedChange[]> {
  const [first] = changes
  if (first === undefined) return []
  const rows = await db
    .selectFrom('state_changes as change')
    .innerJoin('runs', 'runs.id', 'change.run_id')
    .leftJoin('state_changes as former', (join) =>
      join.onRef('former.run_id', '=', 'change.run_id').on('former.number', '=', (eb) => eb('change.number', '-', 1)),
    )
    .select([
      'change.key',
      'runs.source',
      'runs.agent',
      'runs.pool',
      'former.state as former',
      sql<number>`extract(epoch from change.time - former.time)::float8`.as('seconds'),
      sql<number | null>`case when change.state = 'CLAIMED' then ${waited} end`.as('queueSeconds'),
    ])
    .where('change.run_id', '=', first.runId)
    .where(
      'change.key',
      'in',
      changes.map(({ key }) => key),
    )
    .execute()
  return changes.flatMap(({ key, state, failure }) => {
    const row = rows.find((each) => each.key === key)
    if (!row) return []
    const { source, agent, pool, former, seconds, queueSeconds } = row
    return {
      state,
      source,
      agent,
      pool,
      failure: failure ? { phase: failure.phase, code: failure.code } : null,
      former: former === null ? null : { state: former, seconds },
      queueSeconds,
    }
  })
}

/** Of the change's execution: from QUEUED to PENDING, whoever recorded them. */
const waited = sql<number | null>`(
  select extract(epoch from let_in.time - queued.time)::float8
  from state_changes as let_in
  join state_changes as queued on queued.run_id = let_in.run_id and queued.number = let_in.number - 1
  where let_in.run_id = change.run_id and let_in.execution = change.execution
    and let_in.state = 'PENDING' and queued.state = 'QUEUED'
  limit 1
)`

/** Counts everything: its readers keep the answer for a while. */
export async function readFigures(db: Queryable): Promise<Figures> {
  const [runs, queue, mail, hosts, builds, stopped, spent] = await Promise.all([
    db
      .selectFrom('runs')
      .select([
        'state',
        'source',
        sql<number>`count(*)`.as('count'),
        sql<number>`sum(last_event_sequence)`.as('events'),
      ])
      .groupBy(['state', 'source'])
      .execute(),
    db
      .selectFrom('places')
      .select([
        'pool',
        sql<number>`count(*)`.as('waiting'),
        sql<number>`extract(epoch from now() - min(since))::float8`.as('oldestSeconds'),
      ])
      .where('stage', '=', 'waiting')
      .groupBy('pool')
      .execute(),
    db
      .selectFrom('mail')
      .select([
        sql<number>`count(*)`.as('undelivered'),
        sql<number>`coalesce(extract(epoch from now() - min(created_at)), 0)::float8`.as('oldestSeconds'),
      ])
      .where('dispatched_at', 'is', null)
      .executeTakeFirstOrThrow(),
    db
      .selectFrom('hosts')
      .select([
        'pool',
        workerState.as('state'),
        sql<number>`count(*)`.as('count'),
        sql<number>`sum(capacity)`.as('capacity'),
        sql<number>`sum(in_use)`.as('inUse'),
      ])
      .groupBy(['pool', 'state'])
      .execute(),
    db
      .selectFrom('builds')
      .select([
        sql<BuildState>`case when state = 'QUEUED' and started_at is not null then 'BUILDING' else state end`.as(
          'state',
        ),
        sql<number>`count(*)`.as('count'),
      ])
      .groupBy(sql`1`)
      .execute(),
    db
      .selectFrom('budget_stops')
      .innerJoin('runs', 'runs.id', 'budget_stops.run_id')
      .select(['reason', sql<number>`count(distinct runs.id)`.as('count')])
      .where('closed_at', 'is', null)
      .where('runs.state', '=', 'BLOCKED')
      .groupBy('reason')
      .execute(),
    readSpent(db),
  ])
  return {
    runs: runs.map(({ state, source, count }) => ({ state, source, count })),
    events: runs.reduce((sum, { events }) => sum + events, 0),
    queue,
    mail,
    hosts,
    builds,
    stopped,
    ...spent,
  }
}

/** From the sums of the teams, which the ledger's entries are added to as they are made. */
async function readSpent(db: Queryable): Promise<Pick<Figures, 'charged' | 'unpricedCalls'>> {
  const sum = (column: keyof SpendingTable) => sql<number>`coalesce(sum(${sql.ref(column)}), 0)::float8`
  const row = await db
    .selectFrom('spending')
    .select([
      sum('inference_micro_usd').as('inferenceUsd'),
      sum('compute_micro_usd').as('computeUsd'),
      sum('inference_micro_credits').as('inferenceCredits'),
      sum('compute_micro_credits').as('computeCredits'),
      sum('unpriced_calls').as('unpricedCalls'),
    ])
    .where('scope', '=', 'team')
    .where('month', '=', ALL_MONTHS)
    .executeTakeFirstOrThrow()
  return {
    charged: [
      { kind: 'inference', usd: fromMicro(row.inferenceUsd), credits: fromMicro(row.inferenceCredits) },
      { kind: 'compute', usd: fromMicro(row.computeUsd), credits: fromMicro(row.computeCredits) },
    ],
    unpricedCalls: row.unpricedCalls,
  }
}
