// What a run may change by a push of its own.
import { isBranchOf } from '../../domain/git/branch.ts'
import { isDeletion, type PushCommand } from './pkt-lines.ts'

export interface PushRules {
  /** Named as they are. */
  branches: readonly string[]
  /** With `*` in them. None stands for the default branch. */
  patterns: readonly string[]
}

/** Longer ones no forge takes, and no pattern is held against. */
const REF_CHARS = 255
const BRANCH = 'refs/heads/'

/** `push_branch` and the run's own by name; of `push_branches` those without `*` as well. */
export function pushRules(
  {
    push_branch: branch,
    push_branches: more = [],
  }: { push_branch?: string | undefined; push_branches?: string[] | undefined },
  own: string,
): PushRules {
  const isPattern = (text: string) => text.includes('*')
  return {
    branches: [own, ...(branch === undefined ? [] : [branch]), ...more.filter((name) => !isPattern(name))],
    patterns: more.filter(isPattern),
  }
}

/**
 * Why a command is refused, in a few words; null: it may be carried out.
 * `defaultBranch`: asked for where only a pattern would allow it; null: it is not known.
 */
export async function refusalOf(
  command: PushCommand,
  rules: PushRules,
  defaultBranch: () => Promise<string | null>,
): Promise<string | null> {
  const { ref } = command
  if (!ref.startsWith(BRANCH)) return 'a run pushes branches, and nothing else'
  if (isDeletion(command)) return 'a run deletes no branches'
  if (ref.length > REF_CHARS) return 'the name of the branch is too long'
  const branch = ref.slice(BRANCH.length)
  if (rules.branches.includes(branch)) return null
  if (!rules.patterns.some((pattern) => isBranchOf(pattern, branch))) return 'the run may not push to this branch'
  const known = await defaultBranch()
  if (known === null) return 'whether it is the default branch is not known'
  return known === branch ? 'it is the default branch, which has to be named' : null
}

/** The branches that a run may push to, for people. */
export const describeRules = ({ branches, patterns }: PushRules): string =>
  [...new Set([...branches, ...patterns])].join(', ')
