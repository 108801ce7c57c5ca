// The branch of a run's own, in repositories that were not cloned for this run: prepared ones, and those of a run that was forked.

import { RunFailureError } from '../../domain/failure.ts'
import { isRunBranch } from '../../domain/git/branch.ts'
import type { Repository } from '../../domain/run.ts'
import { COMMON } from '../work-product/scripts.ts'
import { type LookOptions, look, NO_GIT } from '../work-product/work-product.ts'
import { planRepositories } from './repositories.ts'

/** $1 the workspace, $2 unused, then per repository its path and its branch. One that is there was worked on already. */
const BRANCH_SCRIPT = `${COMMON}
while [ "$#" -ge 2 ]; do
  (
    cd "$workspace/$1" || exit 1
    g show-ref --verify --quiet "refs/heads/$2" && exit 0
    if commit=$(g rev-parse --verify --quiet 'HEAD^{commit}'); then
      g update-ref "refs/heads/$2" "$commit" || exit 1
    fi
    g symbolic-ref HEAD "refs/heads/$2"
  ) || exit 1
  shift 2
done
exit 0
`

const SECONDS = 60

/** Has the agent work on the run's own branches, from where the repositories are. Files are not touched. Idempotent. */
export async function takeRunBranches(options: LookOptions & { repositories: readonly Repository[] }): Promise<void> {
  const args = planRepositories(options.repositories).flatMap(({ path, repository: { push_branch: branch } }) =>
    branch !== undefined && isRunBranch(branch) ? [path, branch] : [],
  )
  if (args.length === 0) return
  const id = `run-branches-${options.sandbox.generation}`
  const { code, lines } = await look(options, { id, script: BRANCH_SCRIPT, args: ['0', ...args], seconds: SECONDS })
  if (code === 0) return
  throw new RunFailureError({
    code: code === 137 ? 'sandbox_lost' : code === NO_GIT ? 'setup_command_failed' : 'internal_error',
    phase: 'workspace',
    message:
      code === NO_GIT
        ? 'The image has no git, by which the run would get its own branch.'
        : `The run could not be given its own branch. ${lines.slice(-3).join(' ')}`.trim(),
    exitCode: code,
    nextStep: 'Name a branch in push_branch, or have the image bring git.',
  })
}
