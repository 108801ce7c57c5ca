// GitLab, on gitlab.com and elsewhere: its REST API v4. A pull request is a merge request there.
import { z } from 'zod'
import { type Forge, ForgeError, type ForgeRepository, type PullRequest, type RepositoryPlace } from './forge.ts'
import { ask, type ForgeCall } from './http.ts'

const MergeRequest = z.object({
  iid: z.number().int(),
  web_url: z.string(),
  state: z.enum(['opened', 'closed', 'locked', 'merged']),
  // The older name of the same.
  draft: z.boolean().optional(),
  work_in_progress: z.boolean().optional(),
  description: z.string().nullable(),
  source_project_id: z.number().int().nullish(),
  target_project_id: z.number().int().nullish(),
})

const anything = z.unknown()

export const gitlab: Forge = {
  name: 'GitLab',
  home: 'gitlab.com',
  api: (server) => `${server}/api/v4`,
  repository,
}

function repository({ api, path, token, signal }: RepositoryPlace): ForgeRepository {
  const base = `${api}/projects/${encodeURIComponent(path)}`
  const call: ForgeCall = {
    signal,
    meaning,
    headers: { accept: 'application/json', 'private-token': token, 'user-agent': 'ambient' },
  }
  return {
    async list(branch) {
      const query = new URLSearchParams({
        source_branch: branch,
        state: 'all',
        order_by: 'created_at',
        sort: 'desc',
        per_page: '20',
      })
      const found = await ask('GET', `${base}/merge_requests?${query}`, z.array(MergeRequest), call)
      // A fork may have a branch of the same name.
      return found.filter((each) => each.source_project_id === each.target_project_id).map(served)
    },

    async base(wanted) {
      if (wanted !== null && (await hasBranch(wanted))) return wanted
      const Project = z.object({ default_branch: z.string().nullable() })
      const { default_branch: branch } = await ask('GET', base, Project, call)
      if (branch === null) throw new ForgeError('refused', `The repository ${path} has no default branch.`)
      return branch
    },

    async create({ branch, base: into, title, body, draft }) {
      await refuseEmpty(into, branch)
      return served(
        await ask('POST', `${base}/merge_requests`, MergeRequest, call, {
          source_branch: branch,
          target_branch: into,
          title: draft ? `Draft: ${title}` : title,
          description: body,
        }),
      )
    },

    async dress(number, { labels, reviewers }) {
      const { ids, unknown } = await idsOf(reviewers)
      const notes = unknown.map((name) => `The reviewer ${name} is not known there.`)
      const set = {
        ...(labels.length > 0 && { add_labels: labels.join(',') }),
        ...(ids.length > 0 && { reviewer_ids: ids }),
      }
      if (Object.keys(set).length === 0) return notes
      try {
        await ask('PUT', `${base}/merge_requests/${number}`, anything, call, set)
      } catch (error) {
        if (!(error instanceof ForgeError) || error.code === 'unavailable' || error.code === 'rate_limited') throw error
        notes.push(`Its labels and reviewers could not be set. ${error.message}`)
      }
      return notes
    },
  }

  async function hasBranch(name: string): Promise<boolean> {
    try {
      await ask('GET', `${base}/repository/branches/${encodeURIComponent(name)}`, anything, call)
      return true
    } catch (error) {
      if (error instanceof ForgeError && error.code === 'not_found') return false
      throw error
    }
  }

  /** GitLab would open one without commits. */
  async function refuseEmpty(from: string, to: string): Promise<void> {
    const query = new URLSearchParams({ from, to })
    const Comparison = z.object({ commits: z.array(anything) })
    const { commits } = await ask('GET', `${base}/repository/compare?${query}`, Comparison, call)
    if (commits.length === 0) throw new ForgeError('no_commits', `No commits between ${from} and ${to}`)
  }

  async function idsOf(names: readonly string[]): Promise<{ ids: number[]; unknown: string[] }> {
    const ids: number[] = []
    const unknown: string[] = []
    for (const name of names) {
      const query = new URLSearchParams({ username: name })
      const [user] = await ask('GET', `${api}/users?${query}`, z.array(z.object({ id: z.number().int() })), call)
      if (user === undefined) unknown.push(name)
      else ids.push(user.id)
    }
    return { ids, unknown }
  }
}

const served = (request: z.infer<typeof MergeRequest>): PullRequest => ({
  number: request.iid,
  url: request.web_url,
  status: statusOf(request),
  body: request.description ?? '',
})

function statusOf({ state, draft, work_in_progress: older }: z.infer<typeof MergeRequest>): PullRequest['status'] {
  if (state === 'merged' || state === 'closed') return state
  return (draft ?? older) ? 'draft' : 'open'
}

function meaning(status: number, words: string): ForgeError | null {
  return status === 409 && /open merge request already exists/i.test(words) ? new ForgeError('exists', words) : null
}
