// A PID namespace for one sandbox on the bare machine: ending its first process ends everything in it.
import { execFile, spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readMark } from './job-directory.ts'
import { childOf, isAlive, kill, type ProcessRef, parseProcessRef, until } from './processes.ts'
import { exists } from './run-directory.ts'

const run = promisify(execFile)

/** Making a namespace takes milliseconds; a machine that needs longer is out of order. */
const START_MS = 10_000

// The first process adopts and reaps what its descendants leave behind, and never ends by itself.
const FIRST_PROCESS = ': >"$1/ready"; while :; do sleep 2147483647 & wait; done'

// $1 is the directory of `started` and `ready`. Of several only one goes on.
const HOLDER = `
read -r stat <"/proc/$$/stat"
directory=$1
set -f
set -- $stat
shift 21
(set -C; printf '%s %s\\n' "$$" "$1" >"$directory/started") 2>/dev/null || exit 0
exec unshare --pid --fork --kill-child --mount-proc -- /bin/sh -c '${FIRST_PROCESS}' sh "$directory"
`

/** Whether this machine lets this user make PID namespaces, and enter them again. */
export async function namespacesAllowed(path: string): Promise<boolean> {
  try {
    await run('unshare', ['--pid', '--fork', '--kill-child', '--mount-proc', '--', 'nsenter', '--version'], {
      env: { PATH: path },
      timeout: START_MS,
    })
    return true
  } catch {
    // Not root, or a kernel or container that forbids it: processes are then found by their mark.
    return false
  }
}

/** Makes the namespace that this directory stands for, unless it was made before. */
export async function holdNamespace(directory: string, path: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  if ((await readMark(directory, 'started')) === null) {
    spawn('/bin/sh', ['-c', HOLDER, 'ambient', directory], {
      cwd: '/',
      env: { PATH: path },
      detached: true,
      stdio: 'ignore',
    }).unref()
  }
  const ready = await until(() => exists(join(directory, 'ready')), START_MS, 3)
  if (!ready) throw new Error(`no PID namespace could be made within ${START_MS} ms`)
}

/** The process whose end ends the namespace; null when it was never made or has ended. */
export async function namespaceHolder(directory: string): Promise<ProcessRef | null> {
  const holder = parseProcessRef(await readMark(directory, 'started').catch(() => null))
  return holder !== null && (await isAlive(holder)) ? holder : null
}

/** A process in the namespace, by which others enter. */
export const firstProcess = (holder: ProcessRef): Promise<number | null> => childOf(holder.pid)

/** Ends every process in the namespace. */
export async function endNamespace(directory: string): Promise<void> {
  const holder = await namespaceHolder(directory)
  if (holder !== null) kill(holder.pid, 'SIGKILL')
}
