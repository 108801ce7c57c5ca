// What a host has for prepared starts, beside its directory of runs.
import { join } from 'node:path'
import type { HostDeps } from '../../activities/host/deps.ts'
import { createUsedEnvironments } from '../../activities/host/used-environments.ts'
import type { Host } from '../../environments/host.ts'
import { createBeginner } from '../../environments/prepared/begin-from.ts'
import { openSnapshots } from '../../environments/prepared/snapshots.ts'

export const testPrepared = (
  runsDirectory: string,
  host: Host,
): Pick<HostDeps, 'snapshots' | 'beginner' | 'environments'> => ({
  snapshots: openSnapshots(join(runsDirectory, '..', 'snapshots'), runsDirectory),
  beginner: createBeginner(runsDirectory, host),
  environments: createUsedEnvironments(),
})
