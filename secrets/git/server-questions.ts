// What the broker itself asks the server of a repository, to decide on a push.
import type http from 'node:http'
import type { GitMatch } from './matching.ts'
import { type PackedCommits, readCommits } from './pack-commits.ts'
import { createPeek } from './peek.ts'
import { defaultBranchIn, fetchRequest, hashOf, offersFilter, packIn } from './pkt-lines.ts'
import { authorization, type GitSources } from './sources.ts'
import type { Upstream } from './upstream.ts'

export interface ServerQuestions {
  /** Null: it does not say. Asked once. */
  defaultBranch(): Promise<string | null>
  /** What leads to these commits and is not of the known one. Null: it does not tell. */
  commits(wanted: readonly string[], known: string): Promise<PackedCommits | null>
}

/** Of an advertisement, its first ref with all that servers say of themselves is within. */
const ADVERTISEMENT_BYTES = 64 * 1024
const AGENT = ['user-agent', 'git/ambient']
const VERSION_2 = ['git-protocol', 'version=2']

export function serverQuestions(
  { sources, upstream }: { sources: GitSources; upstream: Upstream },
  { match, urlOf, signal }: { match: GitMatch; urlOf: (path: string) => URL; signal: AbortSignal },
): ServerQuestions {
  let branch: Promise<string | null> | null = null

  async function ask(path: string, headers: readonly string[], body: Buffer | null): Promise<http.IncomingMessage> {
    const own = authorization(await sources.open(match))
    const method = body === null ? 'GET' : 'POST'
    return await upstream.send(urlOf(path), { method, headers: [...AGENT, ...headers, ...own], body, signal })
  }

  /** What the server says of itself; null: nothing. */
  async function advertisement(headers: readonly string[]): Promise<Buffer | null> {
    const answer = await ask('/info/refs?service=git-upload-pack', headers, null)
    try {
      const start = createPeek(answer)
      await start.has(ADVERTISEMENT_BYTES)
      return answer.statusCode === 200 ? start.bytes : null
    } finally {
      answer.destroy()
    }
  }

  async function defaultBranch(): Promise<string | null> {
    const said = await advertisement([])
    return said === null ? null : defaultBranchIn(said)
  }

  async function fetched(wanted: readonly string[], known: string, what: 'commits' | 'all') {
    const body = fetchRequest(wanted, known, what)
    const headers = [
      ...['content-type', 'application/x-git-upload-pack-request', 'content-length', String(body.length)],
      ...['accept', 'application/x-git-upload-pack-result', ...VERSION_2],
    ]
    const answer = await ask('/git-upload-pack', headers, body)
    // Where it is long its rest is not read.
    try {
      if (answer.statusCode !== 200) return null
      const pack = createPeek(packIn(createPeek(answer)))
      return (await pack.has(1)) ? await readCommits(pack, 0, hashOf(known)) : null
    } finally {
      answer.destroy()
    }
  }

  return {
    defaultBranch: () => (branch ??= defaultBranch()),
    async commits(wanted, known) {
      const said = await advertisement(VERSION_2)
      // Some servers offer filters, and do not take this one.
      const commits = said !== null && offersFilter(said) ? await fetched(wanted, known, 'commits') : null
      return commits ?? (await fetched(wanted, known, 'all'))
    },
  }
}
