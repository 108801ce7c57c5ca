// What the broker itself asks the server of a repository, to decide on a push.
import type http from 'node:http'
import type { GitMatch } from './matching.ts'
import { type PackedCommits, readCommits } from './pack-commits.ts'
import { createPeek } from './peek.ts'
import { defaultBranchIn, fetchRequest, hashOf, packIn } from './pkt-lines.ts'
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

  async function defaultBranch(): Promise<string | null> {
    const answer = await ask('/info/refs?service=git-upload-pack', [], null)
    try {
      const start = createPeek(answer)
      await start.has(ADVERTISEMENT_BYTES)
      return answer.statusCode === 200 ? defaultBranchIn(start.bytes) : null
    } finally {
      answer.destroy()
    }
  }

  return {
    defaultBranch: () => (branch ??= defaultBranch()),
    async commits(wanted, known) {
      const body = fetchRequest(wanted, known)
      const headers = [
        ...['content-type', 'application/x-git-upload-pack-request', 'content-length', String(body.length)],
        ...['accept', 'application/x-git-upload-pack-result', 'git-protocol', 'version=2'],
      ]
      const answer = await ask('/git-upload-pack', headers, body)
      // The rest of it, after the commits, is of no interest.
      try {
        if (answer.statusCode !== 200) return null
        const pack = createPeek(packIn(createPeek(answer)))
        return (await pack.has(1)) ? await readCommits(pack, 0, hashOf(known)) : null
      } finally {
        answer.destroy()
      }
    },
  }
}
