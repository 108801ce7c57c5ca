// Which branches and tags a repository has on its server, without fetching anything.

import type { GitAccess, Remote } from './access.ts'
import { unreachable } from './failures.ts'
import { type GitOptions, git } from './git.ts'

export interface RemoteRefs {
  /** The branch that is its default one, as a whole ref; null where there is none or HEAD is detached. */
  head: string | null
  headCommit: string | null
  /** Objects by whole refs: branches, tags, and those that were asked for by name. */
  refs: ReadonlyMap<string, string>
  /** The commits of annotated tags, by their refs. */
  peeled: ReadonlyMap<string, string>
}

/**
 * Asks the server, which thereby checks whether these credentials may see the repository.
 * @param names further refs of interest, whole.
 * @throws {RunFailureError} repository_unreachable, repository_unavailable
 */
export async function listRemote(
  remote: Remote,
  access: GitAccess,
  options: GitOptions,
  names: readonly string[] = [],
): Promise<RemoteRefs> {
  const patterns = ['HEAD', 'refs/heads/*', 'refs/tags/*', ...names]
  const listed = await git(['ls-remote', '--symref', '--', remote.url, ...patterns], options)
  if (listed.code !== 0) throw unreachable(remote.url, listed, access)
  return parseRefs(listed.stdout, names)
}

export function parseRefs(text: string, names: readonly string[] = []): RemoteRefs {
  let head: string | null = null
  let headCommit: string | null = null
  const refs = new Map<string, string>()
  const peeled = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [object = '', name = ''] = line.split('\t')
    if (name === 'HEAD' && object.startsWith('ref: refs/')) head = object.slice('ref: '.length)
    else if (name === 'HEAD' && !object.startsWith('ref: ')) headCommit = object
    else if (name.endsWith('^{}')) peeled.set(name.slice(0, -3), object)
    // Patterns match the ends of names as well.
    else if (/^refs\/(heads|tags)\//.test(name) || names.includes(name)) refs.set(name, object)
  }
  // Servers of old do not say which branch it is: it is the one at that commit, the usual names first.
  if (head === null && headCommit !== null) {
    const usual = ['refs/heads/main', 'refs/heads/master']
    head = usual.find((name) => refs.get(name) === headCommit) ?? null
  }
  return { head, headCommit, refs, peeled }
}

export const branchRef = (ref: string) => `refs/heads/${ref.replace(/^refs\/heads\//, '')}`
export const tagRef = (ref: string) => `refs/tags/${ref.replace(/^refs\/tags\//, '')}`
const isWholeHash = (text: string) => /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(text)

/**
 * The commit that a ref of a repository stands for at this moment; nothing is
 * fetched. Null where only a fetch can tell, as for an abbreviated commit.
 */
export function commitIn(
  listed: RemoteRefs,
  ref: string | undefined,
): { commit: string; branch: string | null } | null {
  const { head, headCommit, refs, peeled } = listed
  if (ref === undefined) {
    return headCommit === null ? null : { commit: headCommit, branch: head?.replace(/^refs\/heads\//, '') ?? null }
  }
  const branch = refs.get(branchRef(ref))
  if (branch !== undefined) return { commit: branch, branch: branchRef(ref).slice('refs/heads/'.length) }
  const name = refs.has(tagRef(ref)) ? tagRef(ref) : ref
  const commit = peeled.get(name) ?? refs.get(name) ?? (isWholeHash(ref) ? ref : undefined)
  return commit === undefined ? null : { commit, branch: null }
}
