// Who runs Postgres. It refuses to run as root, so there it needs another user who can reach its files.
import { type ChildProcess, execFileSync, type SpawnOptions, spawn, spawnSync } from 'node:child_process'

export interface PostgresUser {
  /** Null: the user of this process. */
  ids: { uid: number; gid: number } | null
  spawn(program: string, args: readonly string[], options: SpawnOptions): ChildProcess
}

/** @param paths what the user must be able to reach. */
export function postgresUser(paths: readonly string[]): PostgresUser {
  if (process.getuid?.() !== 0) return { ids: null, spawn: (program, args, options) => spawn(program, args, options) }
  const ids = lookUp('postgres') ?? create('postgres')
  if (paths.every((path) => reaches(path, ids))) {
    return { ids, spawn: (program, args, options) => spawn(program, args, { ...options, ...ids }) }
  }
  // A clone below /root is closed to other users. The one right that root lends here is to pass such directories: the
  // smaller one that does it, or the one that is left to root in an ordinary container.
  for (const right of ['dac_read_search', 'dac_override']) {
    const lent = ['--clear-groups', `--inh-caps=+${right}`, `--ambient-caps=+${right}`, `--bounding-set=-all,+${right}`]
    const prefix = [`--reuid=${ids.uid}`, `--regid=${ids.gid}`, ...lent, '--']
    if (spawnSync('setpriv', [...prefix, 'true']).status === 0) {
      return { ids, spawn: (program, args, options) => spawn('setpriv', [...prefix, program, ...args], options) }
    }
  }
  throw new Error(
    `Postgres does not run as root, and the user postgres cannot reach ${paths.join(' or ')}. ` +
      'Start Ambient as an ordinary user, or put the project and AMBIENT_DATA where others may pass (not below /root).',
  )
}

interface Ids {
  uid: number
  gid: number
}

function lookUp(name: string): Ids | null {
  try {
    const id = (flag: string) => Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: 'pipe' }))
    return { uid: id('-u'), gid: id('-g') }
  } catch {
    return null // No such user.
  }
}

function create(name: string): Ids {
  const made = spawnSync(
    'useradd',
    ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', name],
    {
      encoding: 'utf8',
    },
  )
  const ids = lookUp(name)
  if (ids) return ids
  throw new Error(
    `Postgres does not run as root, and a user for it could not be made: ${made.error?.message ?? made.stderr.trim()}. ` +
      'Start Ambient as an ordinary user, or make a user named postgres.',
  )
}

/** Whether that user can pass all directories down to the path and read it. */
function reaches(path: string, ids: Ids): boolean {
  return spawnSync('test', ['-r', path], { ...ids, stdio: 'ignore' }).status === 0
}
