// Runs on the worker that holds the sandbox. What a run is given of secrets, and what is kept out of all that it says.
import { join } from 'node:path'
import { RunFailureError } from '../../domain/failure.ts'
import type { BuildOrder } from '../../domain/host-api.ts'
import { hiddenValues } from '../../domain/vault/hidden-values.ts'
import { createRedactor, type Redactor } from '../../domain/vault/redaction.ts'
import type { Sandbox } from '../../environments/host.ts'
import { removeTree, runPaths } from '../../environments/run-directory.ts'
import type { HostDeps } from './deps.ts'
import { environmentOf } from './environment.ts'
import type { Execution } from './execution.ts'

/** What hides the values that a run has. */
export const redactorOf = (order: Parameters<typeof hiddenValues>[0]): Redactor => createRedactor(hiddenValues(order))

/** @throws {RunFailureError} where the run cannot have what it was to have. */
export function refuseWithoutSecrets({ secrets_trouble: trouble }: Pick<BuildOrder, 'secrets_trouble'>): void {
  if (trouble === null) return
  throw new RunFailureError({
    code: 'secret_unavailable',
    phase: 'setup',
    message: `The secrets of the run cannot be had. ${trouble}`,
    nextStep: 'See `ambient secrets`, and the log of the server; then start the run again.',
  })
}

/**
 * Where the files of secrets are, as the sandbox sees it: in memory where it is a
 * container. On the bare machine in the run's own temporary directory, of which
 * nothing is ever kept, and which is cleared with the sandbox.
 */
function directoryOf({ deps, state }: Pick<Execution, 'deps' | 'state'>): string {
  return deps.host.kind === 'docker' ? '/dev/shm/.ambient-secrets' : join(state.paths.tmp, DIRECT)
}

/** In the temporary directory of a run on the bare machine. */
const DIRECT = 'ambient-secrets'

/** Nothing of the run is running any more, and its files stay. */
export async function clearSecrets({ runsDirectory }: Pick<HostDeps, 'runsDirectory'>, runId: string): Promise<void> {
  await removeTree(join(runPaths(runsDirectory, runId).tmp, DIRECT))
}

/** The variables of the environment, and of the secrets that it does not name itself. */
export function variablesOf(execution: Execution): Record<string, string> {
  const { secrets } = execution.order
  const given = secrets.map(({ name, kind, value }) => [
    name,
    kind === 'file' ? `${directoryOf(execution)}/${name}` : value,
  ])
  return { ...Object.fromEntries(given), ...environmentOf(execution).env }
}

// $1 is the directory; then each file's name and, or nothing, where else it is to be found. Contents come as variables.
const PLACE_FILES = `
umask 077
directory=$1
shift
rm -rf -- "$directory" && mkdir -p -- "$directory" || exit 1
number=0
while [ $# -gt 0 ]; do
  eval "printf %s \\"\\$AMBIENT_FILE_$number\\"" >"$directory/$1" || exit 1
  path=$2
  case $path in '~/'*) path=$HOME/\${path#??} ;; esac
  if [ -n "$path" ]; then
    if [ -e "$path" ] && [ ! -L "$path" ]; then
      echo "$1: there is a file $2 already"
      exit 1
    fi
    parent=\${path%/*}
    mkdir -p -- "\${parent:-/}" && ln -sfn -- "$directory/$1" "$path" || exit 1
  fi
  shift 2
  number=$((number + 1))
done
`

/** Puts the files of secrets into a sandbox, once. @throws {RunFailureError} where one has no place. */
export async function placeSecrets(execution: Execution, sandbox: Sandbox): Promise<void> {
  const { order, deps, ref, stop } = execution
  const files = order.secrets.filter(({ kind }) => kind === 'file')
  if (files.length === 0) return
  const job = await sandbox.job({
    id: `secrets-${sandbox.generation}`,
    command: [
      ...['/bin/sh', '-c', PLACE_FILES, 'ambient', directoryOf(execution)],
      ...files.flatMap(({ name, path }) => [name, path ?? '']),
    ],
    env: Object.fromEntries(files.map(({ value }, number) => [`AMBIENT_FILE_${number}`, value])),
    cwd: deps.host.paths(ref.runId, null).workspace,
  })
  let said = ''
  for await (const lines of job.read(0, stop)) for (const { text } of lines) said = `${said}${text}\n`.slice(-2_000)
  const exit = await job.exit()
  if (exit?.code === 0) return
  const isLost = exit === null || !(await sandbox.isRunning())
  throw new RunFailureError({
    code: isLost ? 'sandbox_lost' : 'secret_unavailable',
    phase: 'setup',
    message: 'A secret could not be put where it was to be found as a file.',
    logTail: said.trimEnd(),
    nextStep: 'Give the secret another path, or none.',
  })
}

/** Texts and failures as they may leave the host. What is no failure of ours keeps its type where it says nothing secret. */
export async function redacting<T>(redactor: Redactor, work: () => Promise<T>): Promise<T> {
  try {
    return redactor.value(await work())
  } catch (error) {
    if (error instanceof RunFailureError) {
      const failure = redactor.value(error.failure)
      throw failure === error.failure ? error : new RunFailureError(failure)
    }
    if (error instanceof Error && redactor.has(error.message)) throw new Error(redactor.text(error.message))
    throw error
  }
}
