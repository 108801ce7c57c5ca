// The changed lines between two versions of a file.

export interface LineChange {
  sign: '+' | '-'
  text: string
}

/** Above this many comparisons a change is shown as "all of these lines became those": a terminal shows a few lines of it anyway. */
const LARGEST_TABLE = 1_000_000

/** Removed and added lines in the order of a diff, without context. */
export function changedLines(before: string, after: string): LineChange[] {
  const old = lines(before)
  const now = lines(after)
  let start = 0
  while (start < old.length && start < now.length && old[start] === now[start]) start++
  let end = 0
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end)) end++
  const removed = old.slice(start, old.length - end)
  const added = now.slice(start, now.length - end)
  if (removed.length * added.length > LARGEST_TABLE) return [...all('-', removed), ...all('+', added)]
  return byLongestCommon(removed, added)
}

const lines = (text: string) => (text === '' ? [] : text.replace(/\n$/, '').split('\n'))
const all = (sign: '+' | '-', texts: string[]): LineChange[] => texts.map((text) => ({ sign, text }))

function byLongestCommon(old: string[], now: string[]): LineChange[] {
  const width = now.length + 1
  const common = new Uint32Array((old.length + 1) * width)
  const at = (i: number, j: number) => common[i * width + j] ?? 0
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      common[i * width + j] = old[i] === now[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
    }
  }
  const changes: LineChange[] = []
  let i = 0
  let j = 0
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      i++
      j++
    } else if (i < old.length && (j === now.length || at(i + 1, j) >= at(i, j + 1))) {
      changes.push({ sign: '-', text: old[i++] ?? '' })
    } else {
      changes.push({ sign: '+', text: now[j++] ?? '' })
    }
  }
  return changes
}
