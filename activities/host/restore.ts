// Runs on the worker that holds the sandbox. A run that comes from another host: its checkpoint becomes its workspace.
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { RunFailureError } from '../../domain/failure.ts'
import type { ExecutionOrder } from '../../domain/host-api.ts'
import type { Manifest } from '../../environments/checkpoint/checkpoint.ts'
import { CheckpointError } from '../../environments/checkpoint/facts.ts'
import { readManifest, restoreHome, restoreWork } from '../../environments/checkpoint/restore.ts'
import { planRepositories } from '../../environments/git/repositories.ts'
import type { Sandbox } from '../../environments/host.ts'
import type { RunPaths } from '../../environments/run-directory.ts'
import { CheckpointRecord, noteRestored, sessionPaths } from './checkpoint.ts'
import type { RunState } from './deps.ts'
import { environmentOf, ownerOf } from './environment.ts'
import type { Execution } from './execution.ts'

const archiveOf = (paths: RunPaths) => join(paths.root, 'restore.archive')

/** The run's checkpoint, brought onto this host; null when the server has none. */
export async function fetchCheckpoint({ deps, ref, order, state, stop }: Execution): Promise<Manifest | null> {
  if (!order.has_checkpoint && !order.begins_forked) return null
  const file = archiveOf(state.paths)
  const draft = `${file}.draft`
  // Also where there is a file: an earlier execution may have left it here, and another host has gone on since.
  if (!(await deps.server.loadCheckpoint(ref.runId, ref.execution, draft, stop))) return null
  await rename(draft, file)
  try {
    const manifest = await readManifest(file, stop)
    const known = planRepositories(order.environment.repos).map(({ path }) => path)
    const isKnown = ({ path, is_submodule }: Manifest['repositories'][number]) =>
      is_submodule ? known.some((each) => path.startsWith(`${each}/`)) : known.includes(path)
    const strange = manifest.repositories.find((each) => !isKnown(each))
    if (strange) throw new CheckpointError(`it has the repository ${strange.path}, which is none of the run's`)
    return manifest
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof SyntaxError || error instanceof CheckpointError)
      throw unusable(error)
    throw error
  }
}

/** Puts the agent's own state into the home. @returns what this host is to remember of the run. */
export async function restoreState(execution: Execution, manifest: Manifest): Promise<Partial<RunState>> {
  const { deps, ref, state, stop } = execution
  const here = deps.host.paths(ref.runId, null)
  if (!canResume(execution, manifest)) return { restoring: true }
  await restoreHome({
    file: archiveOf(state.paths),
    manifest,
    paths: state.paths,
    owner: ownerOf(execution),
    signal: stop,
    statePaths: sessionPaths(execution),
    moved: [
      { from: manifest.workspace, to: here.workspace },
      { from: manifest.home, to: here.home },
    ],
  })
  const { session, ...record } = CheckpointRecord.parse(manifest.record)
  return { ...record, sessionId: session, restoring: true }
}

/** The checkpoint is another run's. */
const isForkOf = ({ has_checkpoint, begins_forked }: ExecutionOrder) => begins_forked && !has_checkpoint

/** Agents note where they work. What is text is told the new place; nothing else can be. */
function canResume({ deps, ref, agent, order }: Execution, manifest: Manifest): boolean {
  const here = deps.host.paths(ref.runId, null)
  const record = CheckpointRecord.safeParse(manifest.record)
  if (!record.success || record.data.agent !== order.agent || agent.protocol === 'command') return false
  if (isForkOf(order) && order.forked_from?.session === 'fresh') return false
  return agent.sessions.isText || (manifest.workspace === here.workspace && manifest.home === here.home)
}

/** Once the set-up commands have run: the work itself, and what is to be said about it. Idempotent. */
export async function restoreWorkspace(execution: Execution, sandbox: Sandbox): Promise<void> {
  const { deps, ref, state, stop } = execution
  if (!state.get().restoring) return
  const file = archiveOf(state.paths)
  const manifest = await readManifest(file, stop)
  try {
    await restoreWork({
      file,
      manifest,
      paths: state.paths,
      owner: sandbox.owner,
      signal: stop,
      sandbox,
      workspace: deps.host.paths(ref.runId, null).workspace,
      id: `restore-${ref.execution}`,
    })
  } catch (error) {
    throw error instanceof CheckpointError ? unusable(error) : error
  }
  await tell(execution, manifest)
  await noteRestored(execution)
  await state.set({ restoring: false })
  await rm(file, { force: true })
}

async function tell(execution: Execution, manifest: Manifest): Promise<void> {
  const { ref, order, transcript } = execution
  const { repositories, beside } = manifest
  const kept = repositories.filter(({ is_plain, is_submodule }) => !is_plain && !is_submodule).map(({ path }) => path)
  const hadSession = CheckpointRecord.safeParse(manifest.record).data?.session != null
  const hasSession = hadSession && canResume(execution, manifest)
  const origin = isForkOf(order) ? order.forked_from : null
  const isFresh = origin?.session === 'fresh'
  const missing = [
    ...(origin === null ? [`what was done after ${manifest.taken_at}`] : []),
    ...(hasSession || !hadSession || isFresh ? [] : ["the agent's session: it does not know what was said before"]),
    ...manifest.left_out,
    ...repositories.flatMap(({ path, unfinished }) => unfinished.map((what) => `${path}: that ${what} was going on`)),
  ]
  const notes = transcript.notes(`restored-${ref.execution}`)
  if (origin !== null) {
    const session = hadSession ? `, ${hasSession ? 'with' : 'without'} the agent's session` : ''
    const text = `Forked from run ${origin.run_id}, checkpoint ${origin.checkpoint} of ${manifest.taken_at}${session}.`
    await notes.add('setup', { step: 'fork', stream: 'stdout', text, forked_from: origin })
    if (missing.length === 0) return
  }
  const what =
    origin === null ? `The run goes on in a new workspace, from its checkpoint of ${manifest.taken_at}. ` : ''
  await notes.add('warning', {
    code: origin === null ? 'workspace_restored' : 'checkpoint_incomplete',
    message: `${what}Not in ${origin === null ? 'it' : 'the checkpoint'}: ${missing.join('; ')}.`,
    taken_at: manifest.taken_at,
    from_execution: manifest.execution,
    repositories: kept,
    files: beside,
    session: hasSession,
    set_up_again: environmentOf(execution).setupSteps.length > 0,
    missing,
  })
}

function unusable(cause: Error): RunFailureError {
  return new RunFailureError(
    {
      code: 'internal_error',
      phase: 'workspace',
      message: `The run came to this host, and its checkpoint could not be made a workspace: ${cause.message}`,
      nextStep: 'Send a follow-up to try again: the checkpoint is kept.',
    },
    { cause },
  )
}
