// What agents noted of where they work, told anew for another place.
export interface Replacement {
  from: string
  to: string
}

/** A path that goes on like this is another one. */
const LONGER = /^[\w.-]/
/** A path that follows this is the end of another one; an escaped line break in JSON ends in a letter too. */
const WITHIN = /(?<!\\)[\w.-]$/

/** Replaces whole paths by others in a text of any encoding that holds ASCII, wherever they stand. */
export async function* replacePaths(
  content: AsyncIterable<Buffer>,
  replacements: readonly Replacement[],
): AsyncGenerator<Buffer> {
  const pairs = replacements
    .flatMap(({ from, to }) => [
      { from: bytes(from), to: bytes(to) },
      // As they stand in a string of JSON.
      { from: bytes(JSON.stringify(from).slice(1, -1)), to: bytes(JSON.stringify(to).slice(1, -1)) },
    ])
    .filter(({ from, to }, index, all) => from !== to && all.findIndex((other) => other.from === from) === index)
  const reach = Math.max(0, ...pairs.map(({ from }) => from.length)) + 1
  let before = ''
  let waiting = ''

  /** The first path from here on; of two that begin there, the longer one. */
  function next(from: number, upTo: number) {
    return pairs
      .map((pair) => ({ ...pair, at: waiting.indexOf(pair.from, from) }))
      .filter(({ at }) => at >= 0 && at < upTo)
      .sort((one, other) => one.at - other.at || other.from.length - one.from.length)[0]
  }

  /** Takes from what waits all but the end, which the next piece may complete. */
  function take(keep: number): Buffer {
    const upTo = Math.max(0, waiting.length - keep)
    let taken = ''
    let at = 0
    for (let found = next(at, upTo); found !== undefined; found = next(at, upTo)) {
      const end = found.at + found.from.length
      const isWhole =
        !LONGER.test(waiting.slice(end, end + 1)) && !WITHIN.test((before + waiting.slice(0, found.at)).slice(-2))
      taken += waiting.slice(at, found.at) + (isWhole ? found.to : found.from)
      at = end
    }
    const rest = Math.max(at, upTo)
    taken += waiting.slice(at, rest)
    before = (before + waiting.slice(0, rest)).slice(-2)
    waiting = waiting.slice(rest)
    return Buffer.from(taken, 'latin1')
  }

  for await (const piece of content) {
    waiting += piece.toString('latin1')
    yield take(reach)
  }
  yield take(0)
}

/** One character for each byte, as the text is looked at: what is not UTF-8 stays as it is. */
const bytes = (text: string): string => Buffer.from(text).toString('latin1')
