// What a finished set-up depends on, in one name.
import { createHash } from 'node:crypto'
import { isRunBranch } from '../../domain/git/branch.ts'
import { type InlineEnvironment, withoutCredentials } from '../../domain/run.ts'
import { planRepositories } from '../git/repositories.ts'
import type { Host, SandboxImage } from '../host.ts'
import type { PreparedRepository } from './snapshots.ts'

/** Changes with what a snapshot is and how it is made, so that none of a former kind is taken for one. */
const VERSION = 1

export interface FamilyOptions {
  host: Pick<Host, 'kind' | 'owner' | 'image'>
  team: string
  environment: InlineEnvironment
}

/**
 * Everything but commits and the image's content: of two set-ups of one family
 * the newer one can stand in for the older. Teams share nothing: who may see a
 * repository is another question for each. Credentials do not count, for they
 * change and give the same.
 */
export function familyOf({ host, team, environment }: FamilyOptions): string {
  const { repos, image, ...rest } = environment
  return hashOf({
    version: VERSION,
    ...{ kind: host.kind, uid: host.owner.uid, gid: host.owner.gid, arch: process.arch, team },
    image: image ?? host.image,
    // What becomes of the commits afterwards is another matter, and a branch of the run's own is no build's.
    repositories: planRepositories(repos).map(
      ({ repository: { pull_request: _, push_branch: branch, ...repository }, path }) => ({
        ...repository,
        ...(isRunBranch(branch) ? {} : { push_branch: branch }),
        ...{ path, url: withoutCredentials(repository.url) },
      }),
    ),
    ...rest,
  })
}

/** With them. What the set-up reads of the repositories is in their commits. `record` is what follows from files of theirs. */
export const contentKey = (made: {
  family: string
  image: SandboxImage | null
  repositories: readonly PreparedRepository[]
  record: unknown
}): string =>
  hashOf({
    family: made.family,
    image: made.image?.id ?? null,
    commits: made.repositories.map(({ path, commit }) => [path, commit]),
    record: made.record,
  })

const hashOf = (value: unknown): string => createHash('sha256').update(canonical(value)).digest('hex')

/** As JSON, whatever order an object's fields were written in. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => (one < other ? -1 : 1)))
      : part,
  )
}
