// Which known name was meant by one that is not known.

/** Letters alone: `permissionPolicy` and `permission-policy` mean `permission_policy`. */
const bare = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '')

/** The known name that differs by a slip of the fingers; null where none is near. */
export function nearest(name: string, known: readonly string[]): string | null {
  let best: string | null = null
  let fewest = Number.POSITIVE_INFINITY
  for (const candidate of known) {
    const steps = distance(bare(name), bare(candidate))
    // In a short name, one letter is a lot.
    const most = Math.min(3, Math.floor(bare(candidate).length / 3))
    if (steps <= most && steps < fewest) {
      best = candidate
      fewest = steps
    }
  }
  return best
}

/** Letters to insert, delete, replace, or exchange with their neighbour. */
function distance(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const now = [row]
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1]
      let steps = Math.min(
        (last[column] ?? 0) + 1,
        (now[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : 1),
      )
      const isExchange = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      if (row > 1 && column > 1 && isExchange) steps = Math.min(steps, (beforeLast[column - 2] ?? 0) + 1)
      now.push(steps)
    }
    beforeLast = last
    last = now
  }
  return last[to.length] ?? 0
}
