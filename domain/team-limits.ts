// The most that any run of a team may take, whatever is asked for or kept for it.
import { z } from 'zod'

const whole = (least: number) => z.number().int().min(least).max(1_000_000).nullable()

/** Null: as the server has it, or the host. */
export const TeamLimits = z
  .object({
    max_turn_minutes: whole(1).describe('Longest time one turn may take.'),
    max_run_minutes: whole(1).describe('Longest time all turns of one execution may take together.'),
    max_idle_minutes: whole(0).describe('Longest time a sandbox is kept after its work is done.'),
    max_transcript_mb: whole(1).describe('Largest transcript of a run, in MiB.'),
    max_disk_gb: z.number().min(0.01).nullable().describe('Most of the disk that a run may take, in GiB.'),
  })
  .meta({ id: 'TeamLimits' })
export type TeamLimits = z.infer<typeof TeamLimits>

export const noTeamLimits: TeamLimits = {
  max_turn_minutes: null,
  max_run_minutes: null,
  max_idle_minutes: null,
  max_transcript_mb: null,
  max_disk_gb: null,
}

/** What is absent stays. */
export const TeamLimitsChange = TeamLimits.partial().meta({ id: 'TeamLimitsChange' })
export type TeamLimitsChange = z.infer<typeof TeamLimitsChange>
