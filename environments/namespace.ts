// A PID namespace for one sandbox on the bare machine: ending its first process ends everything in it.
import { execFile } from 'node:child_process'
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Launcher } from './direct/launcher.ts'
import { readMark } from './job-directory.ts'
import { childOf, isAlive, kill, nameOf, type ProcessRef, parseProcessRef, until } from './processes.ts'

const run = promisify(execFile)

/** Making a namespace takes milliseconds; a machine that needs longer is out of order. */
const START_MS = 10_000

/** Words that make a PID namespace for the program that follows them, which ends with them. */
export const NEW_NAMESPACE = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--'] as const

// The first process adopts and reaps what its descendants leave behind, and never ends by itself. It says that it is
// there through an open file: where it is, the directory may not be seen.
const FIRST_PROCESS = 'echo >&4; exec 4>&-; echo >&3; exec 3>&-; while :; do sleep 2147483647 & wait; done'

// $1 is the directory of `started` and `ready`, $2 a pipe to be made as well, the rest makes the namespace. Of several
// only one goes on. The launcher waits for its descriptor 3.
const HOLDER = `
directory=$1
pipe=$2
shift 2
read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ since _ <"/proc/$$/stat"
(set -C; printf '%s %s\\n' "$$" "$since" >"$directory/started") 2>/dev/null || exit 0
[ -z "$pipe" ] || mkfifo -m 600 "$pipe"
exec 4>"$directory/ready"
exec "$@" /bin/sh -c '${FIRST_PROCESS}'
`

/** Whether this machine lets this user make PID namespaces, and enter them again. */
export async function namespacesAllowed(path: string): Promise<boolean> {
  try {
    const [program, ...words] = NEW_NAMESPACE
    await run(program, [...words, 'nsenter', '--version'], { env: { PATH: path }, timeout: START_MS })
    return true
  } catch {
    // Not root, or a kernel or container that forbids it: processes are then found by their mark.
    return false
  }
}

/**
 * Makes the namespace that this directory stands for, unless it was made before.
 * `make` are the words that make it; `pipe` is made on the way, which saves a
 * process of its own.
 */
export async function holdNamespace(
  launcher: Launcher,
  directory: string,
  path: string,
  make: readonly string[],
  pipe: string | null = null,
): Promise<void> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  if (readMark(directory, 'started') === null) {
    const command = ['/bin/sh', '-c', HOLDER, 'ambient', directory, pipe ?? '', ...make]
    await launcher.launch({ command, env: { PATH: path } })
  }
  const ready = await until(() => isWritten(join(directory, 'ready')), START_MS, 3)
  if (!ready) throw new Error(`no PID namespace could be made within ${START_MS} ms`)
}

/** The process whose end ends the namespace; null when it was never made or has ended. */
export function namespaceHolder(directory: string): ProcessRef | null {
  const holder = parseProcessRef(readMark(directory, 'started'))
  return holder !== null && isAlive(holder) ? holder : null
}

/** A process in the namespace, by which others enter: the first one, or where bubblewrap is the first, the one that it keeps. */
export function firstProcess(holder: ProcessRef): number | null {
  const first = childOf(holder.pid)
  return first !== null && nameOf(first) === 'bwrap' ? childOf(first) : first
}

/** Ends every process in the namespace. */
export function endNamespace(directory: string): void {
  const holder = namespaceHolder(directory)
  if (holder !== null) kill(holder.pid, 'SIGKILL')
}

const isWritten = (path: string): boolean => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0
