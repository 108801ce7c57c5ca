// Runs on the worker that holds the sandbox. The run's files, before any sandbox is over them.
import type { EventKind } from '../../domain/event.ts'
import {
  type ClonedRepository,
  clonedCommits,
  cloneRepositories,
  headsOf,
} from '../../environments/git/repositories.ts'
import { createRunDirectory } from '../../environments/run-directory.ts'
import type { RunState } from './deps.ts'
import { ownerOf } from './environment.ts'
import type { Execution } from './execution.ts'
import { gitAccessOf } from './git-broker.ts'
import { handOverLate } from './late.ts'
import { beginPrepared, clearBegun } from './prepared.ts'
import { fetchCheckpoint, restoreState } from './restore.ts'
import { withWarnings } from './warnings.ts'

/** What git says of every clone, however small; long transfers show in the lines that are left. */
const SMALL_TALK = /^(Cloning into|done\.|remote: (Enumerating|Counting|Compressing|Total)|Resolving deltas)/

/**
 * Before anything else of an execution: what this host has of the run is of no
 * use, and its agent must not go on, where another host has taken the run since.
 */
export async function takeUp(execution: Execution): Promise<void> {
  const { deps, ref, state, order } = execution
  const { former } = order
  const { workspaceReady, generation, execution: latest } = state.get()
  const hasAnything = workspaceReady || generation > 0
  const isOutdated = former !== null && former.host_id !== deps.hostId && former.execution >= latest
  if (hasAnything && isOutdated) {
    deps.log.info({ run: ref.runId, former }, 'another host has had the run since: what is left of it here is removed')
    await handOverLate(execution).catch((error: unknown) => tellLost(execution, error))
    await deps.host.remove(ref.runId)
    state.forget()
  } else if (hasAnything && latest !== ref.execution) await state.set({ execution: ref.execution })
}

/** The run goes on from its newest checkpoint all the same, and cannot wait for a former one's work. */
async function tellLost({ ref, state, transcript, stop }: Execution, error: unknown): Promise<void> {
  if (stop.aborted) throw error
  const reason = error instanceof Error ? error.message : String(error)
  await transcript.notes(`late-${ref.execution}`).add('warning', {
    code: 'checkpoint_failed',
    message: `What execution ${state.get().execution} did on this host after its last checkpoint could not be kept: ${reason}`,
  })
}

/**
 * Directories and clones; where the run was at work elsewhere before, its
 * checkpoint, as far as it goes before the set-up. A repeated call goes on where
 * the last one ended.
 */
export async function prepareWorkspace(execution: Execution): Promise<void> {
  const { deps, ref, order, state, transcript } = execution
  await createRunDirectory(deps.runsDirectory, ref.runId, ownerOf(execution))
  if (state.get().workspaceReady) return
  const manifest = await fetchCheckpoint(execution)
  if (manifest === null && order.former !== null && order.former.host_id !== deps.hostId) {
    await transcript.notes(`workspace-lost-${ref.execution}`).add('warning', {
      code: 'workspace_lost',
      message: 'The run was on another host before. Nothing of that is kept, so it begins with a new workspace here.',
    })
  }
  const former = manifest?.repositories.flatMap(({ path, cloned }) => (cloned === null ? [] : [[path, cloned]]))
  const at = Object.fromEntries(former ?? [])
  const begun = (await beginPrepared(execution, at)) ?? (await beginCold(execution, at))
  await state.set({
    ...begun,
    ...(manifest === null ? {} : await restoreState(execution, manifest)),
    execution: ref.execution,
    workspaceReady: true,
  })
}

async function beginCold(execution: Execution, at: Record<string, string>): Promise<Partial<RunState>> {
  const { deps, state, stop } = execution
  await clearBegun(execution)
  const repositories = await clone(execution, at)
  return {
    cloned: await clonedCommits(state.paths, repositories, { access: deps.git, signal: stop }),
    branches: await headsOf(state.paths, repositories),
  }
}

async function clone(execution: Execution, at: Record<string, string>): Promise<ClonedRepository[]> {
  const { deps, ref, order, state, transcript, stop } = execution
  // By its execution: a later one may have to make the workspace again.
  const notes = transcript.notes(`workspace-${ref.execution}`)
  let told = Promise.resolve()
  let noted = Promise.resolve()
  const tell = (kind: EventKind, data: Record<string, unknown>) => {
    told = told.then(() => notes.add(kind, data))
    told.catch(() => {}) // Heard below, which may be minutes later.
  }
  try {
    const repositories = await cloneRepositories({
      repositories: order.environment.repos,
      at,
      paths: state.paths,
      owner: deps.host.owner,
      access: await gitAccessOf(execution),
      team: order.team,
      signal: stop,
      onProgress: (text) => {
        if (!SMALL_TALK.test(text)) tell('setup', { step: 'clone', stream: 'stderr', text })
      },
      onWarning(warning) {
        tell('warning', { ...warning })
        // Now: an attempt that goes on with this clone does not hear of it.
        noted = state.set(withWarnings(execution, [warning]))
        noted.catch(() => {}) // Heard below.
      },
    })
    await noted
    return repositories
  } finally {
    // What was said before a failure belongs to the transcript too; that it could not be stored is not the failure.
    await told.catch(() => {})
  }
}
