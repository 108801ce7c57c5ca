// Runs on the worker that holds the sandbox. The work product at the end of an execution.

import type { RepositoryResult } from '../../domain/host-api.ts'
import { withoutCredentials } from '../../domain/run.ts'
import type { Redactor } from '../../domain/vault/redaction.ts'
import { pushBranch } from '../../environments/git/push.ts'
import { planRepositories } from '../../environments/git/repositories.ts'
import type { Sandbox } from '../../environments/host.ts'
import { collectedPush, collectResult, startSnapshot } from '../../environments/work-product/work-product.ts'
import type { Execution } from './execution.ts'
import { gitAccessOf } from './git-broker.ts'
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

/**
 * Diff, commits and branch of each repository, read inside a sandbox: what an
 * agent has touched is not the host's to trust. Then `push`es the commits of
 * branches for which that was asked.
 */
export async function collect(execution: Execution, push: boolean): Promise<void> {
  const { deps, ref, order, state, transcript, stop } = execution
  if (order.environment.repos.length === 0) return
  // An agent that was stopped took its sandbox with it; the files are still there for another one.
  const sandbox = await usableSandbox(execution)
  const id = `collect-${ref.execution}-${sandbox.generation}`
  const plan = planRepositories(order.environment.repos)
  const found = await collectResult({
    sandbox,
    paths: state.paths,
    workspace: deps.host.paths(ref.runId, null).workspace,
    signal: stop,
    id,
    maxBytes: deps.resultBytes,
    branches: Object.fromEntries(
      plan.flatMap(({ path, repository: { push_branch: branch } }) =>
        branch === undefined ? [] : [[path, { branch, cloned: state.get().cloned[path] ?? null }]],
      ),
    ),
  })
  if (found.length === 0) return
  const collected = found.map((result) => withoutValues(execution.redactor, result))
  // The server refuses it where a newer execution has begun, which is the one to push then.
  await deps.server.result(ref.runId, ref.execution, { repositories: collected }, stop)
  const repositories = push ? await pushCommits(execution, id, collected) : collected
  await transcript.notes(`result-${ref.execution}`).add('result', {
    repos: repositories.map(({ path, branch, commits, files_changed, insertions, deletions, ...rest }) => ({
      path,
      branch,
      commits: commits.length,
      files_changed,
      insertions,
      deletions,
      bundle: rest.bundle !== null,
      ...(rest.note === null ? {} : { note: rest.note }),
      ...(rest.push === null ? {} : { push: rest.push }),
    })),
  })
}

/** It has gone wrong again and again: an agent can see to that. */
export const tellNotCollected = ({ transcript, ref }: Execution) =>
  transcript.notes(`result-lost-${ref.execution}`).add('warning', {
    code: 'result_not_collected',
    message: 'What the run has done in its repositories could not be read. At the end of a follow-up it is read again.',
  })

/**
 * A result without the values of secrets. Commits cannot be changed without
 * becoming others, so a bundle of such goes, and they are not pushed.
 */
function withoutValues(redactor: Redactor, { patch, bundle, ...summary }: RepositoryResult): RepositoryResult {
  const text = patch === null ? null : Buffer.from(patch, 'base64').toString('utf8')
  const cleaned = redactor.value(summary)
  if (text === null || !redactor.has(text)) return { ...cleaned, patch, bundle }
  return {
    ...cleaned,
    patch: Buffer.from(redactor.text(text), 'utf8').toString('base64'),
    bundle: null,
    note: inOneNote(cleaned.note, HAS_VALUE),
  }
}

/** Said where a value of a secret is in the work product. */
const HAS_VALUE =
  'The changes have the value of a secret in them. In the diff it is hidden; the commits themselves are not kept, and not pushed.'

/** Said where a pushed branch has submodules at commits that were never seen on their servers. */
const POINTS_NOWHERE =
  'Whoever clones it may not get its submodules: these commits were made in the sandbox, and have to be pushed to the submodules’ own servers:'

const inOneNote = (...notes: (string | null)[]): string => notes.filter((note) => note !== null).join(' ')

/** The results, each with what became of its branch. A push that does not succeed fails nothing else: it is told. */
async function pushCommits(
  execution: Execution,
  id: string,
  collected: readonly RepositoryResult[],
): Promise<RepositoryResult[]> {
  const { deps, ref, order, state, transcript, stop } = execution
  const repositories: RepositoryResult[] = []
  for (const result of collected) {
    const { repository } = planRepositories(order.environment.repos).find(({ path }) => path === result.path) ?? {}
    const found = repository?.push_branch ? await collectedPush(state.paths, id, result.path) : null
    if (found !== null && result.note?.includes(HAS_VALUE)) {
      const push = {
        branch: repository?.push_branch ?? '',
        commit: found.commit,
        outcome: 'failed',
        message: HAS_VALUE,
      } as const
      repositories.push({ ...result, push })
      continue
    }
    if (repository?.push_branch === undefined || found === null) {
      repositories.push(result)
      continue
    }
    const { submodules, ...commits } = found
    const push = await pushBranch({
      ...commits,
      url: repository.url,
      branch: repository.push_branch,
      cloned: state.get().cloned[result.path] ?? null,
      isShallow: repository.depth !== undefined,
      access: await gitAccessOf(execution),
      team: order.team,
      staging: state.paths.staging,
      signal: stop,
    })
    const points = submodules === null ? null : `${POINTS_NOWHERE} ${execution.redactor.text(submodules)}.`
    repositories.push({ ...result, push: push.outcome === 'pushed' ? { ...push, message: points } : push })
  }
  if (repositories.every(({ push }) => push === null)) return repositories
  await deps.server.result(ref.runId, ref.execution, { repositories }, stop)
  const notes = transcript.notes(`push-${ref.execution}`)
  for (const { path, push } of repositories) {
    if (push === null || (push.outcome === 'pushed' && push.message === null)) continue
    const isPushed = push.outcome === 'pushed'
    const message = `The commits in ${path} were ${isPushed ? '' : 'not '}pushed to ${push.branch}. ${push.message ?? ''}`
    const code = isPushed ? 'push_incomplete' : `push_${push.outcome}`
    await notes.add('warning', { code, message: message.trim(), path, branch: push.branch })
  }
  return repositories
}
