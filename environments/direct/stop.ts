// What of a run is alive on the bare machine, and its end.
import { readdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { directoryShare, removedButOpen } from '../disk-usage.ts'
import { isErrno } from '../errno.ts'
import { readMark } from '../job-directory.ts'
import { endNamespace, namespaceHolder } from '../namespace.ts'
import { isAlive, kill, markedProcesses, parseProcessRef, programOf, until } from '../processes.ts'
import { isRunId, listRunDirectories, runPaths } from '../run-directory.ts'
import type { BoundaryKind } from './boundary.ts'
import { type AgentPaths, agentPaths } from './paths.ts'

/** In the environment of every process of a run on the bare machine: the run's directory. */
export const MARK = 'AMBIENT_RUN_DIRECTORY'

/** Agents end within 120 ms of a SIGTERM and save their state; whoever does not is killed. */
const GRACE_MS = 1_500
const KILL_MS = 3_000
/** A namespace that is killed has ended within milliseconds. */
const NAMESPACE_MS = 500

/** The runs that have a process, or a namespace that waits for one, on this machine: whether or not their directory is still there. */
export async function aliveRuns(runsDirectory: string, known: readonly string[]): Promise<Set<string>> {
  const alive = new Set<string>()
  for (const directory of (await markedProcesses(MARK)).keys()) {
    const runId = basename(directory)
    if (dirname(directory) === runsDirectory && isRunId(runId)) alive.add(runId)
  }
  for (const runId of known) {
    if (!alive.has(runId) && hasNamespace(runsDirectory, runId)) alive.add(runId)
  }
  return alive
}

/** Which of these directories are named on the command line of a process of any run. */
export async function startedFrom(runsDirectory: string, directories: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>()
  for (const [run, pids] of await markedProcesses(MARK)) {
    if (dirname(run) !== runsDirectory) continue
    for (const pid of pids) {
      const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      for (const directory of directories) if (commandLine.includes(directory)) found.add(directory)
    }
  }
  return found
}

/** The run's directory, and files that its processes have removed and keep open. */
export async function diskUsage(runsDirectory: string, runId: string): Promise<number> {
  const { root } = runPaths(runsDirectory, runId)
  const pids = (await markedProcesses(MARK)).get(root) ?? []
  const sizes = await Promise.all([directoryShare(root), removedButOpen(pids)])
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Ends every process of the run. Its sandboxes must not be used again. Returns the pipes of its agents. */
export async function endProcesses(runsDirectory: string, runId: string): Promise<string[]> {
  const { root } = runPaths(runsDirectory, runId)
  const agents = generations(runsDirectory, runId)
  for (const agent of agents) writeFileSync(agent.stopped, '')
  await Promise.all(agents.map((agent) => askToEnd(agent.own)))
  for (const agent of agents) endNamespace(agent.namespace)
  // What is in it ends with it. All processes of the machine are looked at after that, for it takes long.
  await until(() => !hasNamespace(runsDirectory, runId), NAMESPACE_MS, 3)
  // Everything outside a namespace, and what a dead host process may have been about to start.
  const gone = await until(async () => {
    const marked = (await markedProcesses(MARK)).get(root) ?? []
    for (const pid of marked) kill(pid, 'SIGKILL')
    return marked.length === 0 && !hasNamespace(runsDirectory, runId)
  }, KILL_MS)
  if (!gone) throw new Error(`processes of run ${runId} are still there ${KILL_MS} ms after they were killed`)
  return agents.map(({ stdin }) => stdin)
}

/** Ends every run that has a sandbox of another kind at work. Its files stay, for a sandbox of this one. */
export async function endSandboxesUnlike(runsDirectory: string, kind: BoundaryKind): Promise<void> {
  for (const runId of await aliveRuns(runsDirectory, await listRunDirectories(runsDirectory))) {
    const agents = generations(runsDirectory, runId)
    const kinds = await Promise.all(agents.map(({ complete }) => readFile(complete, 'utf8').catch(() => null)))
    if (kinds.some((each) => each !== null && each !== kind)) await endProcesses(runsDirectory, runId)
  }
}

function generations(runsDirectory: string, runId: string): AgentPaths[] {
  const paths = runPaths(runsDirectory, runId)
  return namesIn(paths.agents)
    .filter((name) => /^\d+$/.test(name))
    .map((name) => agentPaths(paths, Number(name)))
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

const hasNamespace = (runsDirectory: string, runId: string): boolean =>
  generations(runsDirectory, runId).some((agent) => namespaceHolder(agent.namespace) !== null)

/** Lets the agent save its state: a SIGTERM, and a short time. */
async function askToEnd(own: string): Promise<void> {
  const gate = parseProcessRef(readMark(own, 'started'))
  if (gate === null || !isAlive(gate)) return
  const program = programOf(gate.pid)
  if (program !== null) kill(program, 'SIGTERM')
  await until(() => !isAlive(gate), GRACE_MS)
}
