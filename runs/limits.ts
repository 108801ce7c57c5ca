// What a run may take: what its request says, and no more than what the server allows.
import type { Config } from '../config.ts'
import type { EnvironmentConfig } from '../domain/environment.ts'
import type { ExecutionOrder } from '../domain/host-api.ts'
import { invalid } from '../domain/problem.ts'
import type { AgentConfig } from '../domain/run.ts'

/** Each limit that a run may lower, with the setting that is the most. A host's disk is the host's own affair. */
const settingOf = {
  max_turn_minutes: 'AMBIENT_TURN_MINUTES',
  max_run_minutes: 'AMBIENT_RUN_MINUTES',
  max_transcript_mb: 'AMBIENT_TRANSCRIPT_MB',
} as const satisfies Partial<Record<keyof AgentConfig, keyof Config>>

type Limits = Pick<AgentConfig, keyof typeof settingOf>

/** @throws {HttpError} 400 for a run that asks for more than it can have. */
export function refuseBeyondLimits(settings: Config, asked: Limits | null, path = 'config.'): void {
  for (const [field, setting] of Object.entries(settingOf) as [keyof typeof settingOf, keyof Config][]) {
    const most = Number(settings[setting])
    if ((asked?.[field] ?? 0) > most)
      throw invalid(`${path}${field}: is more than this server allows: ${most} (${setting})`)
  }
}

/** What a run may lower below what its environment says. */
export const limitFields = ['max_turn_minutes', 'max_run_minutes', 'max_transcript_mb', 'max_disk_gb'] as const

/** What the server allows; null: it says nothing. */
export const mostOf = (settings: Config, field: (typeof limitFields)[number]): number | null =>
  field in settingOf ? Number(settings[settingOf[field as keyof typeof settingOf]]) : null

/**
 * A run's configuration with what its environment says where it says nothing.
 * @throws {HttpError} 400 where it asks for more than its environment allows.
 */
export function withEnvironmentLimits(asked: AgentConfig, environment: EnvironmentConfig): AgentConfig {
  const config = { ...asked, idle_timeout_minutes: asked.idle_timeout_minutes ?? environment.idle_timeout_minutes }
  for (const field of limitFields) {
    const most = environment[field]
    if (most == null) continue
    if ((asked[field] ?? 0) > most)
      throw invalid(`config.${field}: is more than the environment "${environment.name}" allows: ${most}`)
    config[field] ??= most
  }
  return config
}

/** What the host of a run has to see to. Settings may have become narrower since the run was begun. */
export function hostLimits(
  settings: Config,
  asked: AgentConfig,
): Pick<ExecutionOrder, 'transcript_bytes' | 'disk_bytes'> {
  const most = settings.AMBIENT_TRANSCRIPT_MB
  return {
    transcript_bytes: Math.min(asked.max_transcript_mb ?? most, most) * 1024 ** 2,
    disk_bytes: asked.max_disk_gb == null ? null : asked.max_disk_gb * 1024 ** 3,
  }
}
