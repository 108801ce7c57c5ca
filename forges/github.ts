// GitHub, and GitHub Enterprise Server: its REST API of 2022-11-28.
import { z } from 'zod'
import { type Forge, ForgeError, type ForgeRepository, type PullRequest, type RepositoryPlace } from './forge.ts'
import { ask, type ForgeCall } from './http.ts'

const Pull = z.object({
  number: z.number().int(),
  html_url: z.string(),
  state: z.enum(['open', 'closed']),
  // Servers that know no drafts do not say.
  draft: z.boolean().nullish(),
  merged_at: z.string().nullish(),
  body: z.string().nullable(),
})

const anything = z.unknown()

export const github: Forge = {
  name: 'GitHub',
  home: 'github.com',
  api: (server) => (server === 'https://github.com' ? 'https://api.github.com' : `${server}/api/v3`),
  repository,
}

function repository({ api, path, token, signal }: RepositoryPlace): ForgeRepository {
  const base = `${api}/repos/${path.split('/').map(encodeURIComponent).join('/')}`
  const call: ForgeCall = {
    signal,
    meaning,
    headers: {
      accept: 'application/vnd.github+json',
      authorization: `Bearer ${token}`,
      'user-agent': 'ambient',
      'x-github-api-version': '2022-11-28',
    },
  }
  return {
    async list(branch) {
      const query = new URLSearchParams({
        head: `${path.split('/')[0]}:${branch}`,
        state: 'all',
        sort: 'created',
        direction: 'desc',
        per_page: '20',
      })
      return (await ask('GET', `${base}/pulls?${query}`, z.array(Pull), call)).map(served)
    },

    async base(wanted) {
      if (wanted !== null && (await hasBranch(wanted))) return wanted
      return (await ask('GET', base, z.object({ default_branch: z.string() }), call)).default_branch
    },

    async create({ branch, base: into, title, body, draft }) {
      return served(await ask('POST', `${base}/pulls`, Pull, call, { head: branch, base: into, title, body, draft }))
    },

    async dress(number, { labels, reviewers }) {
      const notes: string[] = []
      if (labels.length > 0)
        await attempt(notes, 'Its labels could not be set.', () =>
          ask('POST', `${base}/issues/${number}/labels`, anything, call, { labels }),
        )
      const teams = reviewers.filter((name) => name.includes('/')).map((name) => name.split('/')[1])
      const users = reviewers.filter((name) => !name.includes('/'))
      if (reviewers.length > 0)
        await attempt(notes, 'Its reviewers could not be asked.', () =>
          ask('POST', `${base}/pulls/${number}/requested_reviewers`, anything, call, {
            reviewers: users,
            team_reviewers: teams,
          }),
        )
      return notes
    },
  }

  async function hasBranch(name: string): Promise<boolean> {
    try {
      await ask('GET', `${base}/branches/${name.split('/').map(encodeURIComponent).join('/')}`, anything, call)
      return true
    } catch (error) {
      // A tag, a commit, or nothing that is there any more.
      if (error instanceof ForgeError && error.code === 'not_found') return false
      throw error
    }
  }
}

const served = ({
  number,
  html_url: url,
  state,
  draft,
  merged_at: mergedAt,
  body,
}: z.infer<typeof Pull>): PullRequest => ({
  number,
  url,
  status: mergedAt ? 'merged' : state === 'closed' ? 'closed' : draft ? 'draft' : 'open',
  body: body ?? '',
})

/** A refusal is told by its words alone: all of these are 422. */
function meaning(status: number, words: string): ForgeError | null {
  if (status !== 422) return null
  if (/pull request already exists/i.test(words)) return new ForgeError('exists', words)
  if (/no commits between/i.test(words)) return new ForgeError('no_commits', words)
  if (/draft pull requests are not supported/i.test(words)) return new ForgeError('no_drafts', words)
  return null
}

/** What is only trimming fails nothing. What may pass is thrown: it is done with the next attempt. */
async function attempt(notes: string[], sentence: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof ForgeError) || error.code === 'unavailable' || error.code === 'rate_limited') throw error
    notes.push(`${sentence} ${error.message}`)
  }
}
