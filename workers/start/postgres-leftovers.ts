// What a killed predecessor may have left of a Postgres cluster: a server that still runs, or its stale pid file.
import { readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { endProcess, identify, type ProcessIdentity } from './process-identity.ts'

/** Returns once no process uses the cluster. */
export async function endLeftovers(cluster: string, log: (line: string) => void): Promise<void> {
  // Elsewhere it cannot be seen who works in a directory; there Postgres's own check of its pid file must do.
  if (process.platform !== 'linux') return
  const file = join(cluster, 'postmaster.pid')
  const postmaster = readPostmaster(file)
  if (postmaster && users(cluster).some((user) => user.pid === postmaster.pid)) {
    log(`ending the Postgres of a former start (process ${postmaster.pid})`)
    await endProcess(postmaster, 'SIGINT', 10_000)
  }
  // Backends end by themselves when their postmaster is gone. Removing the pid file before that would
  // let a second server in beside them, which destroys a cluster.
  const deadline = Date.now() + 5_000
  while (users(cluster).length > 0 && Date.now() < deadline) await delay(20)
  for (const user of users(cluster)) await endProcess(user, 'SIGQUIT', 2_000)
  rmSync(file, { force: true })
}

function readPostmaster(file: string): ProcessIdentity | null {
  try {
    const pid = Number(readFileSync(file, 'utf8').split('\n')[0])
    return Number.isSafeInteger(pid) && pid > 0 ? identify(pid) : null
  } catch {
    return null // No pid file: the last server ended in order.
  }
}

/** Processes that work in the cluster's directory: a postmaster and its backends do, and nothing else. */
function users(cluster: string): ProcessIdentity[] {
  const real = realpathSync(cluster)
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && workingDirectory(name) === real && isPostgres(name))
    .map((name) => identify(Number(name)))
    .filter((found) => found !== null)
}

function workingDirectory(pid: string): string | null {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return null // Ended, or another user's.
  }
}

function isPostgres(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('postgres')
  } catch {
    return false // Ended in between.
  }
}
