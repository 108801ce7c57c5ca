// Runs on the worker that holds the sandbox. The run's files, before any sandbox is over them.
import { cloneRepositories } from '../../environments/repositories.ts'
import { createRunDirectory } from '../../environments/run-directory.ts'
import type { Execution } from './execution.ts'

/** What git says of every clone, however small; long transfers show in the lines that are left. */
const SMALL_TALK = /^(Cloning into|done\.|remote: (Enumerating|Counting|Compressing|Total)|Resolving deltas)/

/** Directories and clones. A repeated call goes on where the last one ended. */
export async function prepareWorkspace({ deps, ref, order, state, transcript, stop }: Execution): Promise<void> {
  const paths = await createRunDirectory(deps.runsDirectory, ref.runId, deps.host.owner)
  if (state.get().workspaceReady) return
  // By its execution: a later one may have to make the workspace again.
  const notes = transcript.notes(`workspace-${ref.execution}`)
  let told = Promise.resolve()
  try {
    await cloneRepositories({
      repositories: order.environment.repos,
      paths,
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
  await state.set({ workspaceReady: true })
}
