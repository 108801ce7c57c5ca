// Whether a push keeps the commits that a branch has.
import type { PackedCommits, Parents } from './pack-commits.ts'
import type { PushCommand } from './pkt-lines.ts'

/** More of them no server is asked for. */
const WANTED = 1_000

/**
 * Whether what a branch has had is among what a pushed commit is made from; null: not known.
 * A push has the commits that its server lacks, and may rest on others that are
 * there already, newer ones than the branch's: those `ask` tells, what leads to
 * them and is not of the branch. Null: it does not.
 */
export async function keepsCommits(
  { from, to }: Pick<PushCommand, 'from' | 'to'>,
  pushed: PackedCommits,
  ask: (wanted: readonly string[], known: string) => Promise<PackedCommits | null>,
): Promise<boolean | null> {
  const first = walk(to, from, pushed.parents)
  if (first === 'met') return true
  if (first.length > WANTED) return null
  const had = await ask(first, from)
  if (had === null) return null
  const second = walk(to, from, new Map([...pushed.parents, ...had.parents]))
  if (second === 'met') return true
  return pushed.isWhole && had.isWhole ? false : null
}

/** Whether these commits alone lead from what is pushed to what the branch has had. */
export const leadsBack = ({ from, to }: Pick<PushCommand, 'from' | 'to'>, parents: Parents): boolean =>
  walk(to, from, parents) === 'met'

/** Back from one commit: whether the other one is met, or the first ones that nothing is known of. */
function walk(from: string, other: string, parents: Parents): 'met' | string[] {
  const seen = new Set([from])
  const unknown: string[] = []
  // What is added to a set while it is gone through comes later.
  for (const id of seen) {
    if (id === other) return 'met'
    const before = parents.get(id)
    if (before === undefined) unknown.push(id)
    for (const each of before ?? []) seen.add(each)
  }
  return unknown
}
