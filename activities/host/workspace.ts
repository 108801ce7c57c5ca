// Runs on the worker that holds the sandbox. The run's files, before any sandbox is over them.
import { type ClonedRepository, clonedCommits, cloneRepositories } from '../../environments/repositories.ts'
import { createRunDirectory } from '../../environments/run-directory.ts'
import type { Execution } from './execution.ts'
import { fetchCheckpoint, restoreState } from './restore.ts'

/** What git says of every clone, however small; long transfers show in the lines that are left. */
const SMALL_TALK = /^(Cloning into|done\.|remote: (Enumerating|Counting|Compressing|Total)|Resolving deltas)/

/**
 * Before anything else of an execution: what this host has of the run is of no
 * use, and its agent must not go on, where another host has taken the run since.
 */
export async function takeUp({ deps, ref, order: { former }, state }: Execution): Promise<void> {
  const { workspaceReady, generation, execution } = state.get()
  const hasAnything = workspaceReady || generation > 0
  const isOutdated = former !== null && former.host_id !== deps.hostId && former.execution >= execution
  if (hasAnything && isOutdated) {
    deps.log.info({ run: ref.runId, former }, 'another host has had the run since: what is left of it here is removed')
    await deps.host.remove(ref.runId)
    state.forget()
  } else if (hasAnything && execution !== ref.execution) await state.set({ execution: ref.execution })
}

/**
 * Directories and clones; where the run was at work elsewhere before, its
 * checkpoint, as far as it goes before the set-up. A repeated call goes on where
 * the last one ended.
 */
export async function prepareWorkspace(execution: Execution): Promise<void> {
  const { deps, ref, order, state, transcript, stop } = execution
  const paths = await createRunDirectory(deps.runsDirectory, ref.runId, deps.host.owner)
  if (state.get().workspaceReady) return
  const manifest = await fetchCheckpoint(execution)
  if (manifest === null && order.former !== null && order.former.host_id !== deps.hostId) {
    await transcript.notes(`workspace-lost-${ref.execution}`).add('warning', {
      code: 'workspace_lost',
      message: 'The run was on another host before. Nothing of that is kept, so it begins with a new workspace here.',
    })
  }
  const former = manifest?.repositories.flatMap(({ path, cloned }) => (cloned === null ? [] : [[path, cloned]]))
  const repositories = await clone(execution, Object.fromEntries(former ?? []))
  await state.set({
    ...(manifest === null ? {} : await restoreState(execution, manifest)),
    cloned: await clonedCommits(paths, repositories, stop),
    execution: ref.execution,
    workspaceReady: true,
  })
}

async function clone(
  { deps, ref, order, state, transcript, stop }: Execution,
  at: Record<string, string>,
): Promise<ClonedRepository[]> {
  // By its execution: a later one may have to make the workspace again.
  const notes = transcript.notes(`workspace-${ref.execution}`)
  let told = Promise.resolve()
  try {
    return await cloneRepositories({
      repositories: order.environment.repos,
      at,
      paths: state.paths,
      owner: deps.host.owner,
      signal: stop,
      onProgress: (text) => {
        if (SMALL_TALK.test(text)) return
        told = told.then(() => notes.add('setup', { step: 'clone', stream: 'stderr', text }))
        told.catch(() => {}) // Heard below, which may be minutes later.
      },
    })
  } finally {
    // What was said before a failure belongs to the transcript too; that it could not be stored is not the failure.
    await told.catch(() => {})
  }
}
