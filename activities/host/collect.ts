// Runs on the worker that holds the sandbox. The work product at the end of an execution.
import { withoutCredentials } from '../../domain/run.ts'
import type { Sandbox } from '../../environments/host.ts'
import { planRepositories } from '../../environments/repositories.ts'
import { collectResult, startSnapshot } from '../../environments/work-product.ts'
import type { Execution } from './execution.ts'
import { usableSandbox } from './sandbox.ts'

/** Notes how the repositories are before the agent begins: the diff of the run is against this. */
export async function noteStart(execution: Execution, sandbox: Sandbox): Promise<void> {
  const { deps, ref, order, state, stop } = execution
  await startSnapshot({
    sandbox,
    paths: state.paths,
    workspace: deps.host.paths(ref.runId, null).workspace,
    signal: stop,
    repositories: planRepositories(order.environment.repos).map(({ path, repository }) => ({
      path,
      url: withoutCredentials(repository.url),
    })),
  })
}

/** Diff, commits and branch of each repository, read inside a sandbox: what an agent has touched is not the host's to trust. */
export async function collect(execution: Execution): Promise<void> {
  const { deps, ref, order, state, transcript, stop } = execution
  if (order.environment.repos.length === 0) return
  // An agent that was stopped took its sandbox with it; the files are still there for another one.
  const sandbox = await usableSandbox(execution)
  const repositories = await collectResult({
    sandbox,
    paths: state.paths,
    workspace: deps.host.paths(ref.runId, null).workspace,
    signal: stop,
    id: `collect-${ref.execution}-${sandbox.generation}`,
    maxBytes: deps.resultBytes,
  })
  if (repositories.length === 0) return
  await deps.server.result(ref.runId, ref.execution, { repositories }, stop)
  await transcript.notes(`result-${ref.execution}`).add('result', {
    repos: repositories.map(({ path, branch, commits, files_changed, insertions, deletions, note }) => ({
      path,
      branch,
      commits: commits.length,
      files_changed,
      insertions,
      deletions,
      ...(note === null ? {} : { note }),
    })),
  })
}
