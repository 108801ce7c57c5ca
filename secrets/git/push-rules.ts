// What a run may change by a push of its own.
import { isBranchOf } from '../../domain/git/branch.ts'
import type { Repository } from '../../domain/run.ts'
import { isCreation, isDeletion, type PushCommand } from './pkt-lines.ts'

export interface PushRules {
  /** The run's own branch, whose commits it may replace. */
  own: string
  /** Those of the others, but for the default branch, it may replace too. */
  mayForce: boolean
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
    push_force: mayForce = false,
  }: Pick<Repository, 'push_branch' | 'push_branches' | 'push_force'>,
  own: string,
): PushRules {
  const isPattern = (text: string) => text.includes('*')
  return {
    own,
    mayForce,
    branches: [own, ...(branch === undefined ? [] : [branch]), ...more.filter((name) => !isPattern(name))],
    patterns: more.filter(isPattern),
  }
}

/** Null: it is not known. */
type DefaultBranch = () => Promise<string | null>

/**
 * Why nothing is pushed to a ref, in a few words; null: something may be.
 * `defaultBranch`: asked for where only a pattern would allow it.
 */
export async function refusalOf(ref: string, rules: PushRules, defaultBranch: DefaultBranch): Promise<string | null> {
  if (!ref.startsWith(BRANCH)) return 'a run pushes branches, and nothing else'
  if (ref.length > REF_CHARS) return 'the name of the branch is too long'
  const branch = ref.slice(BRANCH.length)
  if (rules.branches.includes(branch)) return null
  if (!rules.patterns.some((pattern) => isBranchOf(pattern, branch))) return 'the run may not push to this branch'
  const known = await defaultBranch()
  if (known === null) return 'whether it is the default branch is not known'
  return known === branch ? 'it is the default branch, which has to be named' : null
}

/**
 * Why a command is refused to a ref that may be pushed to; null: it may be carried out.
 * `keeps`: whether the branch keeps its commits; null: not known.
 */
export async function refusalOfChange(
  command: PushCommand,
  rules: PushRules,
  { keeps, defaultBranch }: { keeps: () => Promise<boolean | null>; defaultBranch: DefaultBranch },
): Promise<string | null> {
  if (isDeletion(command)) return 'a run deletes no branches'
  const branch = command.ref.slice(BRANCH.length)
  if (isCreation(command) || branch === rules.own) return null
  const kept = await keeps()
  if (kept === true) return null
  if (rules.mayForce) {
    const known = await defaultBranch()
    if (known !== null && known !== branch) return null
    return 'commits of the default branch are not replaced'
  }
  return kept === false
    ? 'non-fast-forward: the branch has commits that this one is not made from'
    : 'whether it keeps the commits of the branch cannot be told'
}

/** The branches that a run may push to, for people. */
export const describeRules = ({ branches, patterns }: PushRules): string =>
  [...new Set([...branches, ...patterns])].join(', ')
