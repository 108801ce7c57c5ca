// Opens a pull request, or takes the one that there is. Repeated at any point, it comes to the same one.
import type { PullRequestStatus } from '../domain/git/pull-request.ts'
import { ForgeError, type ForgeRepository, type PullRequest } from './forge.ts'

export interface Wanted {
  branch: string
  /** The branch to merge into, as asked for; null: as the repository has it. */
  base: string | null
  /** What the run began from: the branch to merge into where it is one. */
  ref: string | null
  title: string
  body: string
  draft: boolean
  labels: readonly string[]
  reviewers: readonly string[]
  /** A piece of the body by which those of this run are known. */
  mark: string
  /** The URL of the one that was opened or taken for the run before, and has all that it was to have. */
  known: string | null
}

export interface Opened {
  number: number
  url: string
  status: PullRequestStatus
  /** It was there before, opened by somebody else or for an earlier run of this branch. */
  taken: boolean
  /** What of it could not be done. */
  notes: string[]
}

/** @throws {ForgeError} */
export async function openPullRequest(repository: ForgeRepository, wanted: Wanted): Promise<Opened> {
  const there = await repository.list(wanted.branch)
  const open = there.find(isOpen)
  if (open !== undefined) return await take(repository, open, wanted)
  // Somebody has closed the run's own one without merging it: no machine opens it again.
  const [newest] = there
  if (newest?.status === 'closed' && isOurs(newest, wanted))
    throw new ForgeError('closed_by_person', `${newest.url} was closed without being merged.`)
  try {
    return await create(repository, wanted)
  } catch (error) {
    if (!(error instanceof ForgeError) || error.code !== 'exists') throw error
    // Opened between the two questions.
    const now = (await repository.list(wanted.branch)).find(isOpen)
    if (now === undefined) throw new ForgeError('refused', error.message, null, { cause: error })
    return await take(repository, now, wanted)
  }
}

const isOpen = ({ status }: PullRequest) => status === 'open' || status === 'draft'

const isOurs = ({ body }: PullRequest, { mark }: Wanted) => body.includes(mark)

/**
 * Of one that people have had before them, nothing is changed. The run's own may
 * lack what a process that died in the middle had not come to.
 */
async function take(repository: ForgeRepository, found: PullRequest, wanted: Wanted): Promise<Opened> {
  const isOwn = isOurs(found, wanted)
  const notes = isOwn && found.url !== wanted.known ? await repository.dress(found.number, wanted) : []
  return { number: found.number, url: found.url, status: found.status, taken: !isOwn, notes }
}

async function create(repository: ForgeRepository, wanted: Wanted): Promise<Opened> {
  const { branch, title, body, draft } = wanted
  const ref = wanted.ref === branch ? null : wanted.ref
  const base = wanted.base ?? (await repository.base(ref))
  const notes: string[] = []
  const made = await repository.create({ branch, base, title, body, draft }).catch((error: unknown) => {
    if (!draft || !(error instanceof ForgeError) || error.code !== 'no_drafts') throw error
    notes.push('It is no draft: the forge does not have drafts for this repository.')
    return repository.create({ branch, base, title, body, draft: false })
  })
  notes.push(...(await repository.dress(made.number, wanted)))
  return { number: made.number, url: made.url, status: made.status, taken: false, notes }
}
