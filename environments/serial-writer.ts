// One writer at a time on a process's stdin.

/**
 * Sends texts one after the other. The first one, and any after a failed one, is
 * preceded by a newline: it closes a line that a dead predecessor, or the
 * failure, may have left torn. `isFirst`: there is no predecessor.
 */
export function serialWriter(send: (bytes: Buffer) => Promise<void>, isFirst = false): (text: string) => Promise<void> {
  let last: Promise<void> = Promise.resolve()
  let torn = !isFirst
  return (text) => {
    const mine = last.then(async () => {
      const bytes = Buffer.from(torn ? `\n${text}` : text)
      torn = true
      await send(bytes)
      torn = !text.endsWith('\n')
    })
    // The next one's turn comes whether or not this one went well; its own caller hears of it.
    last = mine.catch(() => {})
    return mine
  }
}
