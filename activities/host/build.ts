// Runs on the worker that holds the sandbox. An environment is set up ahead of its runs, and kept as a snapshot.
import { mkdir } from 'node:fs/promises'
import { agents } from '../../agents/index.ts'
import type { BuildResult } from '../../domain/environment.ts'
import { failureCodes, RunFailureError } from '../../domain/failure.ts'
import { type BuildOrder, ExecutionOrder } from '../../domain/host-api.ts'
import { directorySize } from '../../environments/disk-usage.ts'
import { gitOptions, remoteOf } from '../../environments/git/access.ts'
import { commitIn, listRemote } from '../../environments/git/remote-refs.ts'
import { planRepositories } from '../../environments/git/repositories.ts'
import type { Sandbox } from '../../environments/host.ts'
import { REFRESH_SCRIPT } from '../../environments/prepared/catch-up-script.ts'
import { contentKey, familyOf } from '../../environments/prepared/key.ts'
import { filesWithValues } from '../../environments/prepared/left-values.ts'
import { findMentions } from '../../environments/prepared/relocate.ts'
import { type PreparedRepository, type Snapshot, SnapshotMeta } from '../../environments/prepared/snapshots.ts'
import { readState, writeState } from '../../environments/run-directory.ts'
import { look, readStart } from '../../environments/work-product/work-product.ts'
import type { BuildOutcome } from '../../workflows/contract.ts'
import type { StopSignals } from './attended.ts'
import { logBlockedHosts } from './blocked-hosts.ts'
import { createBuildLog } from './build-log.ts'
import { noteStart } from './collect.ts'
import { type HostDeps, openRunState } from './deps.ts'
import { watchDisk } from './disk.ts'
import type { Execution } from './execution.ts'
import { gitAccessOf, removeGitToken } from './git-broker.ts'
import { interruptible } from './limits.ts'
import { effectOf, isCurrent } from './prepared.ts'
import { usableSandbox } from './sandbox.ts'
import { placeSecrets, redacting, redactorOf, refuseWithoutSecrets } from './secrets.ts'
import { runSetup } from './setup.ts'
import { createLanes, createTurns, type Lanes, type Turns } from './turns.ts'
import { prepareWorkspace } from './workspace.ts'

/** What of a snapshot is noted in the build's directory once all that is left is to move it to its place. */
const FINISHED = 'snapshot'

/** Clones, sets up, keeps. A repeated call goes on where the last one ended. */
export async function buildEnvironment(
  deps: HostDeps,
  buildId: string,
  signals: StopSignals,
  builds: Builds,
): Promise<BuildOutcome> {
  const both = AbortSignal.any([signals.interrupt, signals.detach])
  const order = await deps.server.build(buildId, both)
  await deps.server.buildLog(buildId, { source: 'host', lines: [] }, both)
  // Repositories are asked for from there, before the build has a directory of its own.
  await mkdir(deps.runsDirectory, { recursive: true, mode: 0o700 })
  try {
    const result = await interruptible(signals, async (bounded, exceed) => {
      const watched = { runId: buildId, phase: 'setup', maxBytes: deps.diskBytes } as const
      const stopWatching = watchDisk(deps, watched, exceed)
      try {
        const stop = AbortSignal.any([bounded.interrupt, bounded.detach])
        return await builds.same.alone(lockName(order), stop, () =>
          builds.all.join(stop, () => redacting(redactorOf(order), () => build(deps, order, bounded))),
        )
      } finally {
        stopWatching()
      }
    })
    await deps.host.remove(buildId)
    deps.log.info({ build: buildId, key: result.key, reused: result.reused }, 'an environment is built')
    return { kind: 'ready', result }
  } catch (error) {
    if (signals.detach.aborted) throw error
    const isTheirs = error instanceof RunFailureError && !failureCodes[error.failure.code].retryable
    if (isTheirs || signals.interrupt.aborted) await deps.host.remove(buildId)
    if (isTheirs && !signals.interrupt.aborted) return { kind: 'failed', failure: error.failure }
    throw error
  }
}

/** More at once would take the machine from its runs. */
const BUILDS_AT_ONCE = 2

/** The builds of a host: those that make the same, and all of them. */
export interface Builds {
  same: Turns
  all: Lanes
}

export const createBuilds = (): Builds => ({ same: createTurns(), all: createLanes(BUILDS_AT_ONCE) })

/** Whoever would make the same at the same time waits, and finds it made. */
const lockName = ({ team, environment }: BuildOrder) => JSON.stringify([team, environment])

async function build(deps: HostDeps, order: BuildOrder, signals: StopSignals): Promise<BuildResult> {
  const { build_id: buildId } = order
  refuseWithoutSecrets(order)
  const execution = await executionOf(deps, order, signals)
  const { state, stop } = execution
  const family = familyOf({ host: deps.host, ...order })
  const made = (await deps.snapshots.ofBuild(buildId)) ?? (await finish(execution))
  if (made !== null) return resultOf(made, false)
  if (!order.force && !state.get().workspaceReady) {
    const same = await findSame(execution, family)
    if (same !== null) {
      await execution.transcript.notes('host').add('setup', { text: 'The same has been built on this host already.' })
      return resultOf(same, true)
    }
  }
  await prepareWorkspace(execution)
  const sandbox = await usableSandbox(execution)
  await placeSecrets(execution, sandbox)
  try {
    await runSetup(execution, sandbox)
  } finally {
    await logBlockedHosts(execution)
  }
  await refreshIndexes(execution, sandbox)
  await removeGitToken(execution, sandbox)
  await noteStart(execution, sandbox)
  const image = await sandbox.image()
  const repositories = repositoriesOf(execution)
  const { workspace, home } = state.paths
  // From here on nothing writes there: what is found in the files is what will be in them.
  await deps.host.stop(buildId)
  await refuseLeftValues(execution)
  const place = deps.host.paths(buildId, null).workspace
  const sizes = await Promise.all([directorySize(workspace), directorySize(home)])
  stop.throwIfAborted()
  await writeState(
    state.paths,
    SnapshotMeta,
    {
      version: 1,
      id: buildId,
      key: contentKey({ family, image, repositories, record: effectOf(state.get()) }),
      family,
      environment_id: order.environment_id,
      created_at: new Date().toISOString(),
      bytes: sizes.reduce((sum, size) => sum + size, 0),
      image,
      repositories,
      start: (await readStart(state.paths)) ?? [],
      // Where all sandboxes see their files at one place, nothing can name it.
      mentions: place.includes(buildId) ? await findMentions(state.paths, buildId) : { files: [], links: [] },
      record: state.get(),
    },
    FINISHED,
  )
  const kept = await finish(execution)
  if (kept === null) throw new Error(`build ${buildId} is finished, and has no note of it`)
  return resultOf(kept, false)
}

/** What is in the files is in every run that starts from them, whatever secrets that has. @throws {RunFailureError} */
async function refuseLeftValues({ order, state, stop }: Execution): Promise<void> {
  const values = order.secrets.map(({ value }) => value)
  const { workspace, home } = state.paths
  const found = [
    ...(await filesWithValues(workspace, values, stop)),
    ...(await filesWithValues(home, values, stop)).map((path) => `~/${path}`),
  ]
  if (found.length === 0) return
  const more = found.length > 5 ? `, and ${found.length - 5} more` : ''
  throw new RunFailureError({
    code: 'setup_command_failed',
    phase: 'setup',
    message: `Set-up has left the value of a secret in ${found.slice(0, 5).join(', ')}${more}. A prepared environment does not hold it.`,
    nextStep:
      'Have the file name the variable instead of its value, remove it at the end of the set-up, or set `prepare` to false.',
  })
}

/** Moves a finished build to its place; null where it is not finished. */
async function finish({ deps, ref, state }: Execution): Promise<Snapshot | null> {
  const meta = readState(state.paths, SnapshotMeta, FINISHED)
  if (meta === null) return null
  // Nothing may write there any more.
  await deps.host.stop(ref.runId)
  return await deps.snapshots.keep(state.paths, meta)
}

/** A build is carried out as a run of nobody, by the same code. */
async function executionOf(deps: HostDeps, order: BuildOrder, signals: StopSignals): Promise<Execution> {
  const redactor = redactorOf(order)
  return {
    deps,
    ref: { runId: order.build_id, execution: 1 },
    order: ExecutionOrder.parse({
      run_id: order.build_id,
      execution: 1,
      agent: 'command',
      model: null,
      reasoning_level: null,
      command: null,
      policy: null,
      base_prompt: null,
      environment: order.environment,
      secrets: order.secrets,
      team: order.team,
      git: order.git,
    }),
    agent: agents.command,
    policy: 'deny',
    state: openRunState(deps.runsDirectory, order.build_id),
    transcript: createBuildLog(deps.server, order.build_id, redactor, signals.detach),
    redactor,
    signals,
    stop: AbortSignal.any([signals.interrupt, signals.detach]),
    isBuild: true,
  }
}

/** What was made of the same commits, from the image that its name stands for now. */
async function findSame(execution: Execution, family: string): Promise<Snapshot | null> {
  const { deps, order, stop } = execution
  const candidates = await deps.snapshots.ofFamily(family)
  if (candidates.length === 0) return null
  const access = await gitAccessOf(execution)
  const commits = await Promise.all(
    planRepositories(order.environment.repos).map(async ({ repository, path }) => {
      const remote = await remoteOf(repository.url, access)
      const options = gitOptions(remote, access, { cwd: deps.runsDirectory, signal: stop })
      const names = repository.ref?.startsWith('refs/') ? [repository.ref] : []
      return { path, commit: commitIn(await listRemote(remote, access, options, names), repository.ref)?.commit }
    }),
  )
  for (const snapshot of candidates) {
    const isSame = commits.every(({ path, commit }) =>
      snapshot.repositories.some((each) => each.path === path && each.commit === (commit ?? null)),
    )
    if (isSame && (await isCurrent(deps, snapshot)) && (await deps.snapshots.take(snapshot))) return snapshot
  }
  return null
}

function repositoriesOf({ order, state }: Execution): PreparedRepository[] {
  const { cloned, branches } = state.get()
  return planRepositories(order.environment.repos).map(({ path }) => ({
    path,
    commit: cloned[path] ?? null,
    branch: branches[path] ?? null,
  }))
}

async function refreshIndexes(execution: Execution, sandbox: Sandbox): Promise<void> {
  const { deps, ref, order, state, stop } = execution
  const paths = planRepositories(order.environment.repos).map(({ path }) => path)
  if (paths.length === 0) return
  await look(
    { sandbox, paths: state.paths, workspace: deps.host.paths(ref.runId, null).workspace, signal: stop },
    { id: `refresh-${sandbox.generation}`, script: REFRESH_SCRIPT, args: ['0', ...paths] },
  )
}

const resultOf = ({ key, bytes, image, repositories }: Snapshot, reused: boolean): BuildResult => ({
  key,
  reused,
  bytes,
  image: image?.id ?? null,
  commits: Object.fromEntries(repositories.flatMap(({ path, commit }) => (commit === null ? [] : [[path, commit]]))),
})
