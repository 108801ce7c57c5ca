// Schedules as the API shows them.
import { asServed } from '../../domain/harness.ts'
import { configWithServers, managedServer } from '../../domain/mcp/values.ts'
import type { Principal } from '../../domain/permission.ts'
import type { AgentConfig } from '../../domain/run.ts'
import type { ScheduleItem } from '../../domain/schedule.ts'
import { profileIn, profilesOf } from '../accounts/principals.ts'
import { environmentSummaries } from '../builds/environments.ts'
import type { Queryable } from '../database.ts'
import { noneSpent, spentBySchedules } from '../money/credits.ts'
import type { ScheduleRow } from './schedules.ts'

/** Those of one team. */
export async function serveSchedules(
  db: Queryable,
  team: string,
  rows: readonly ScheduleRow[],
): Promise<ScheduleItem[]> {
  const named = rows.flatMap((row) => environmentOf(row) ?? [])
  const [profiles, environments, spent] = await Promise.all([
    profilesOf(db, [...rows.map(makerOf), ...rows.map(editorOf)]),
    environmentSummaries(db, team, named),
    spentBySchedules(
      db,
      rows.map(({ id }) => id),
    ),
  ])
  const now = Date.now()
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    cron_schedule: row.cron_schedule,
    enabled: row.enabled,
    prompt: row.prompt,
    saved_prompt: row.saved_prompt,
    mode: row.mode ?? 'normal',
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    agent_config: row.agent_config && withHarness(configWithServers(row.agent_config, managedServer)),
    agent_uid: row.agent_uid,
    metadata: row.metadata,
    environment: environments.get(environmentOf(row) ?? '') ?? null,
    created_by: profileIn(profiles, makerOf(row)),
    updated_by: profileIn(profiles, editorOf(row)),
    scope: row.owner === null ? { type: 'Team', uid: row.team } : { type: 'User', uid: row.owner },
    history: {
      last_ran: row.last_ran?.toISOString() ?? null,
      next_run: row.enabled ? (row.upcoming.find((time) => time.getTime() > now)?.toISOString() ?? null) : null,
    },
    last_spawn_error: row.last_spawn_error,
    time_zone: row.time_zone,
    overlap_policy: row.overlap_policy,
    catchup_window_seconds: row.catchup_seconds,
    jitter_seconds: row.jitter_seconds,
    pause_after_failures: row.pause_after_failures,
    failures_in_a_row: row.failures,
    spent: spent.get(row.id) ?? noneSpent,
    paused_reason: row.paused_reason,
  }))
}

export async function serveSchedule(db: Queryable, row: ScheduleRow): Promise<ScheduleItem> {
  const [item] = await serveSchedules(db, row.team, [row])
  if (!item) throw new TypeError('every row is served')
  return item
}

/** As strict clients take it. */
const withHarness = (config: AgentConfig): AgentConfig =>
  config.harness ? { ...config, harness: asServed(config.harness) } : config

const environmentOf = (row: ScheduleRow): string | null => row.agent_config?.environment_id || null

const makerOf = ({ created_by_type: type, created_by: uid }: ScheduleRow): Principal => ({ type, uid })
const editorOf = ({ updated_by_type: type, updated_by: uid }: ScheduleRow): Principal => ({ type, uid })
