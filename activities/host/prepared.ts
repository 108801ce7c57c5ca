// Runs on the worker that holds the sandbox. A run that starts from a finished set-up instead of its own.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type FailureCode, failureCodes, logTail, type RunFailure, RunFailureError } from '../../domain/failure.ts'
import type { ExecutionOrder } from '../../domain/host-api.ts'
import { adoptBaseline } from '../../environments/checkpoint/baseline.ts'
import type { Sandbox } from '../../environments/host.ts'
import { hasBegun } from '../../environments/prepared/begin-from.ts'
import { CannotCatchUpError, type Move, moveRepositories, whatIsNew } from '../../environments/prepared/catch-up.ts'
import { familyOf } from '../../environments/prepared/key.ts'
import { isContainerInput, isSetupInput } from '../../environments/prepared/setup-inputs.ts'
import type { Snapshot } from '../../environments/prepared/snapshots.ts'
import { createRunDirectory } from '../../environments/run-directory.ts'
import { writeStart } from '../../environments/work-product/work-product.ts'
import { type HostDeps, RunState } from './deps.ts'
import { ownerOf } from './environment.ts'
import type { Execution } from './execution.ts'
import { gitAccessOf } from './git-broker.ts'
import { ServerRefusal } from './server.ts'

/** In the run's directory: what its repositories are to be given. */
const NEWS = 'news'
/** How often a run that waits for a build asks what became of it, in milliseconds. */
const ASK_MS = 1_000

/**
 * Lays the run over the newest snapshot that it can start from. `at` has
 * commits that a checkpoint is to be put over.
 * @returns what this host is to remember of the run then; null: there is none, and the run is to set itself up.
 * @throws {RunFailureError} what a build failed of that the run waits for
 */
export async function beginPrepared(
  execution: Execution,
  at: Record<string, string>,
): Promise<Partial<RunState> | null> {
  const { deps, ref, order, state, stop } = execution
  const { prepared } = order
  if (prepared === null || state.get().prepared?.kind === 'given_up') return null
  deps.environments.used(prepared.environment_id, order)
  const snapshot = (await findSnapshot(execution)) ?? (await buildMissing(execution, prepared))
  if (snapshot === null) return null
  try {
    const how = await deps.beginner.begin(state.paths, snapshot, stop)
    deps.log.info({ run: ref.runId, snapshot: snapshot.id, how }, 'the run starts from a prepared environment')
  } catch (error) {
    stop.throwIfAborted()
    deps.log.warn({ run: ref.runId, snapshot: snapshot.id, err: error }, 'a snapshot cannot be used')
    await deps.beginner.clear(state.paths)
    await createRunDirectory(deps.runsDirectory, ref.runId, ownerOf(execution))
    await tellCold(execution, 'what was built cannot be used on this host')
    await ask(execution, prepared.environment_id)
    return null
  }
  const { cloned, branches, devcontainer, warned } = RunState.parse(snapshot.record)
  return {
    cloned,
    branches,
    devcontainer,
    warned,
    setupDone: true,
    prepared: { kind: 'begun', snapshot: snapshot.id, at },
  }
}

/** What follows from files of the repositories, and is part of what a set-up is made of. */
export const effectOf = ({ devcontainer }: RunState): unknown => devcontainer

async function findSnapshot({ deps, order }: Execution): Promise<Snapshot | null> {
  const family = familyOf({ host: deps.host, team: order.team, environment: order.environment })
  for (const snapshot of await deps.snapshots.ofFamily(family)) {
    if ((await isCurrent(deps, snapshot)) && (await deps.snapshots.take(snapshot))) return snapshot
  }
  return null
}

/** Whether the name of its image still stands for the image that it was made with. */
export async function isCurrent({ host }: Pick<HostDeps, 'host'>, { image }: Snapshot): Promise<boolean> {
  return image === null || (await host.imageId(image.name)) === image.id
}

/** Has the environment built. A run that is to wait for that gets what was built. */
async function buildMissing(
  execution: Execution,
  { environment_id: environmentId, wait }: NonNullable<ExecutionOrder['prepared']>,
): Promise<Snapshot | null> {
  const { deps, stop } = execution
  const buildId = await ask(execution, environmentId)
  if (buildId === null) {
    await tellCold(execution, 'nothing was built ahead of it on this host')
    return null
  }
  for (let told = false; ; told = true) {
    const { state, failure } = await deps.server.build(buildId, stop)
    if (state === 'READY') {
      const found = await findSnapshot(execution)
      if (found === null)
        await tellCold(execution, 'what was built is not for this run: its environment has changed since')
      return found
    }
    if (state === 'FAILED' && wait) {
      const failed = failureOf(failure)
      const log = `The log of the build: ${logOf(environmentId, buildId)} (GET /agent/environments/${environmentId}/builds/${buildId}/log).`
      const nextStep = failed.nextStep === undefined ? log : `${failed.nextStep} ${log}`
      throw new RunFailureError({ ...failed, nextStep })
    }
    if (state === 'FAILED' || state === 'CANCELLED') {
      const { message } = failureOf(failure)
      await warnCold(execution, state === 'FAILED' ? `its build failed: ${message}` : 'its build was cancelled')
      return null
    }
    if (!wait) {
      await tellCold(execution, 'nothing was built ahead of it on this host yet; it is being built for later runs')
      return null
    }
    if (!told) {
      const log = logOf(environmentId, buildId)
      await tell(execution, 'waits', `Waiting for the environment to be built (build ${buildId}). Its log: ${log}`)
    }
    await sleep(ASK_MS, undefined, { signal: stop })
  }
}

/** Null where the server does not want it built. */
async function ask({ deps, ref, stop }: Execution, environmentId: string): Promise<string | null> {
  try {
    return await deps.server.askForBuild(environmentId, 'missing', stop)
  } catch (error) {
    if (!(error instanceof ServerRefusal)) throw error
    deps.log.info({ run: ref.runId, environment: environmentId, reason: error.message }, 'no build is to be asked for')
    return null
  }
}

/** What people type to read it. */
const logOf = (environmentId: string, buildId: string) => `\`ambient environments log ${environmentId} ${buildId}\``

/** As the build has it, if it says it in our words. */
function failureOf(failure: Record<string, unknown> | null): RunFailure {
  const { code, message, command, exitCode, logTail: log, nextStep } = failure ?? {}
  const isKnown = typeof code === 'string' && Object.hasOwn(failureCodes, code)
  return {
    code: isKnown ? (code as FailureCode) : 'internal_error',
    phase: 'setup',
    message: typeof message === 'string' ? message : 'The environment could not be built.',
    ...(typeof command === 'string' ? { command } : {}),
    ...(typeof exitCode === 'number' ? { exitCode } : {}),
    ...(typeof log === 'string' ? { logTail: logTail(log) } : {}),
    ...(typeof nextStep === 'string' ? { nextStep } : {}),
  }
}

/**
 * Finds out what the repositories have got since the snapshot. May go on beside
 * the making of the sandbox. @returns false: the run cannot go on from the snapshot.
 */
export async function findNews(execution: Execution): Promise<boolean> {
  const { deps, ref, order, state, stop } = execution
  const { prepared, cloned, devcontainer } = state.get()
  if (prepared?.kind !== 'begun') return true
  const snapshot = await deps.snapshots.ofBuild(prepared.snapshot)
  // A copy of it does not keep it here, and the host may have been away for long.
  if (snapshot === null) return await giveUp(execution, 'what it was begun from has been removed since')
  let moves: Move[]
  try {
    moves = await whatIsNew({
      repositories: order.environment.repos,
      prepared: snapshot.repositories,
      at: prepared.at,
      team: order.team,
      access: await gitAccessOf(execution),
      signal: stop,
      directory: join(state.paths.root, NEWS),
    })
  } catch (error) {
    if (error instanceof CannotCatchUpError) return await giveUp(execution, error.message)
    throw error
  }
  const build = devcontainer?.choice.build ?? null
  const files = moves.flatMap(({ path, files }) => files.map((file) => ({ path, file })))
  const container = files.find(({ path, file }) => isContainerInput(order.environment, build, path, file))
  if (container) {
    return await giveUp(execution, `${container.path}/${container.file}, which its container is made from, has changed`)
  }
  // How the repositories are is known where nothing has come to them since, and nothing in them was told another place.
  const { files: told, links } = snapshot.mentions
  if (moves.length === 0 && ![...told, ...links].some((path) => path.startsWith('workspace/'))) {
    await adoptBaseline(snapshot, state.paths)
    await writeStart(state.paths, snapshot.start)
  }
  if (moves.length === 0) await tellStart(execution, snapshot, moves)
  await state.set({
    prepared: moves.length === 0 ? { kind: 'done', snapshot: snapshot.id } : { ...prepared, kind: 'behind', moves },
    cloned: { ...cloned, ...Object.fromEntries(moves.map(({ path, to }) => [path, to])) },
    ...(changedInputs(order, moves).length > 0 ? { setupDone: false } : {}),
  })
  if (order.prepared !== null) noteUse(deps, order.prepared.environment_id, snapshot.key)
  deps.log.info({ run: ref.runId, snapshot: snapshot.id, moves: moves.length }, 'a prepared start')
  return true
}

function changedInputs({ environment }: ExecutionOrder, moves: readonly Move[]): string[] {
  return moves.flatMap(({ path, files }) =>
    files.filter((file) => isSetupInput(environment, path, file)).map((file) => `${path}/${file}`),
  )
}

/** Once nothing can send the run back to the start. */
async function tellStart(execution: Execution, snapshot: Snapshot, moves: readonly Move[]): Promise<void> {
  await tell(execution, 'from', startedFrom(snapshot, moves, changedInputs(execution.order, moves)))
  await tellWarnings(execution)
}

function startedFrom(
  { id, created_at: createdAt }: Snapshot,
  moves: readonly Move[],
  changed: readonly string[],
): string {
  const fetched = moves.map(({ path, commits }) => `${commits} new ${commits === 1 ? 'commit' : 'commits'} in ${path}`)
  const since = fetched.length > 0 ? `; fetched since: ${fetched.join(', ')}` : ''
  const again = changed.length > 0 ? `. It is set up again, for these have changed: ${listed(changed)}` : ''
  return `Started from the prepared environment, built ${ago(createdAt)} (build ${id})${since}${again}.`
}

/** How long the server may take to note a use. In milliseconds. */
const NOTED_MS = 60_000

/** Nobody waits for it: it tells which builds are worth renewing. */
function noteUse({ server, log }: HostDeps, environmentId: string, key: string): void {
  server.environmentUsed(environmentId, key, AbortSignal.timeout(NOTED_MS)).catch((error: unknown) => {
    log.info({ environment: environmentId, reason: String(error) }, 'that it is used was not noted')
  })
}

/** Puts what is new into the repositories. @returns false: that cannot be done. */
export async function catchUp(execution: Execution, sandbox: Sandbox): Promise<boolean> {
  const { deps, ref, state, stop } = execution
  const { prepared } = state.get()
  if (prepared?.kind !== 'behind') return true
  try {
    const lost = await moveRepositories({
      sandbox,
      paths: state.paths,
      workspace: deps.host.paths(ref.runId, null).workspace,
      signal: stop,
      moves: prepared.moves,
      id: `catch-up-${ref.execution}`,
      owner: sandbox.owner,
    })
    const snapshot = await deps.snapshots.ofBuild(prepared.snapshot)
    // It may have been removed in the meantime.
    if (snapshot === null) await tellWarnings(execution)
    else await tellStart(execution, snapshot, prepared.moves)
    if (lost.length > 0) {
      const where = lost.join(', ')
      await tell(
        execution,
        'again',
        `It is set up again, for what the set-up had changed in ${where} has changed there too.`,
      )
    }
    await state.set({
      prepared: { kind: 'done', snapshot: prepared.snapshot },
      ...(lost.length > 0 ? { setupDone: false } : {}),
    })
    await rm(join(state.paths.root, NEWS), { recursive: true, force: true })
    return true
  } catch (error) {
    if (!(error instanceof CannotCatchUpError)) throw error
    return await giveUp(execution, error.message)
  }
}

/** The run is to begin cold after all. The caller sees to that. */
async function giveUp(execution: Execution, reason: string): Promise<false> {
  await tellCold(execution, reason)
  const { environment_id: environmentId } = execution.order.prepared ?? {}
  if (environmentId !== undefined) await ask(execution, environmentId)
  return false
}

/** Ends what was begun from a snapshot; the workspace is to be made anew. */
export async function startOver({ deps, ref, state }: Execution): Promise<void> {
  await deps.host.stop(ref.runId)
  await state.set({
    workspaceReady: false,
    setupDone: false,
    devcontainer: null,
    warned: [],
    prepared: { kind: 'given_up', remains: true },
  })
}

/** Before a cold start: what there is of one that was given up, or that was killed in its middle and is no longer to be had. */
export async function clearBegun(execution: Execution): Promise<void> {
  const { deps, ref, state } = execution
  const { prepared } = state.get()
  const remains = prepared?.kind === 'given_up' && prepared.remains
  // Where strangers' commands have been, the host's git must not find a clone to go on with.
  if (!remains && !(await hasBegun(state.paths))) return
  await deps.beginner.clear(state.paths)
  await createRunDirectory(deps.runsDirectory, ref.runId, ownerOf(execution))
  if (remains) await state.set({ prepared: { kind: 'given_up', remains: false } })
}

const notesOf = ({ transcript, ref }: Execution, what: string) => transcript.notes(`prepared-${ref.execution}-${what}`)

const tell = (execution: Execution, what: string, text: string) =>
  notesOf(execution, what).add('setup', { step: 'prepared', stream: 'stdout', text })

const tellCold = (execution: Execution, reason: string) => tell(execution, 'cold', `Set up from the start: ${reason}.`)

const warnCold = (execution: Execution, reason: string) =>
  notesOf(execution, 'failed').add('warning', {
    code: 'environment_not_prepared',
    message: `The run is set up from the start, for ${reason}`,
  })

/** Of what its build was warned. A start that is given up after all is warned by its own clones. */
async function tellWarnings(execution: Execution): Promise<void> {
  const notes = notesOf(execution, 'warned')
  for (const warning of execution.state.get().warned) await notes.add('warning', warning)
}

const listed = (names: readonly string[]) =>
  names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ')

function ago(time: string): string {
  const minutes = Math.round((Date.now() - Date.parse(time)) / 60_000)
  if (minutes < 2) return 'just now'
  if (minutes < 120) return `${minutes} minutes ago`
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} hours ago` : `${Math.round(minutes / 60 / 24)} days ago`
}
