// Brings the database's tables up to this version of Ambient.
import { type Migration, Migrator } from 'kysely/migration'
import type { Db } from './database.ts'
import * as m0001 from './migrations/0001_runs.ts'
import * as m0002 from './migrations/0002_append_events.ts'
import * as m0003 from './migrations/0003_places.ts'
import * as m0004 from './migrations/0004_workers.ts'
import * as m0005 from './migrations/0005_checkpoints.ts'
import * as m0006 from './migrations/0006_events_by_kind.ts'
import * as m0007 from './migrations/0007_transcript_bytes.ts'
import * as m0008 from './migrations/0008_environments.ts'
import * as m0009 from './migrations/0009_checkpoint_history.ts'
import * as m0010 from './migrations/0010_egress.ts'
import * as m0011 from './migrations/0011_identities.ts'
import * as m0012 from './migrations/0012_audit_log.ts'
import * as m0013 from './migrations/0013_schedules.ts'
import * as m0014 from './migrations/0014_artifacts.ts'
import * as m0015 from './migrations/0015_outside.ts'
import * as m0016 from './migrations/0016_lists.ts'
import * as m0017 from './migrations/0017_secrets.ts'
import * as m0018 from './migrations/0018_models.ts'
import * as m0019 from './migrations/0019_money.ts'
import * as m0020 from './migrations/0020_git.ts'
import * as m0021 from './migrations/0021_configuration.ts'
import * as m0022 from './migrations/0022_mcp_servers.ts'
import * as m0023 from './migrations/0023_skills.ts'
import * as m0024 from './migrations/0024_loose_ends.ts'
import * as m0025 from './migrations/0025_given_values.ts'
import * as m0026 from './migrations/0026_runs_by_skill.ts'
import * as m0027 from './migrations/0027_team_limits.ts'

/** In the order of their numbers; forward only. */
const migrations: Record<string, Migration> = {
  '0001_runs': m0001,
  '0002_append_events': m0002,
  '0003_places': m0003,
  '0004_workers': m0004,
  '0005_checkpoints': m0005,
  '0006_events_by_kind': m0006,
  '0007_transcript_bytes': m0007,
  '0008_environments': m0008,
  '0009_checkpoint_history': m0009,
  '0010_egress': m0010,
  '0011_identities': m0011,
  '0012_audit_log': m0012,
  '0014_artifacts': m0014,
  '0013_schedules': m0013,
  '0015_outside': m0015,
  '0016_lists': m0016,
  '0017_secrets': m0017,
  '0018_models': m0018,
  '0019_money': m0019,
  '0021_configuration': m0021,
  '0022_mcp_servers': m0022,
  '0023_skills': m0023,
  '0020_git': m0020,
  '0024_loose_ends': m0024,
  '0025_given_values': m0025,
  '0026_runs_by_skill': m0026,
  '0027_team_limits': m0027,
}

/**
 * Runs the migrations that are missing; resolves with their names. Safe to call
 * from several processes at once: an advisory lock lets one go first.
 * @throws the first migration's error; the database is then as it was before that call.
 */
export async function migrate(db: Db): Promise<string[]> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } })
  const { error, results } = await migrator.migrateToLatest()
  if (error) throw error
  return (results ?? []).filter((result) => result.status === 'Success').map((result) => result.migrationName)
}
