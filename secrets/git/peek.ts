// The beginning of a stream, read ahead of its use.

export interface Peek {
  /** What was read up to now. */
  readonly bytes: Buffer
  /** Reads on until there are so many bytes. False: the stream ends before. */
  has(count: number): Promise<boolean>
  /** All of the stream from its first byte, as if nothing had been read. */
  whole(): AsyncGenerator<Buffer>
  /** Reads to its end, and keeps nothing of it. */
  drain(): Promise<void>
}

export function createPeek(stream: AsyncIterable<Buffer>): Peek {
  const rest = stream[Symbol.asyncIterator]()
  let kept = Buffer.alloc(0)
  let length = 0

  function keep(piece: Buffer): void {
    if (length + piece.length > kept.length) {
      const larger = Buffer.alloc(Math.max(2 * kept.length, length + piece.length))
      kept.copy(larger, 0, 0, length)
      kept = larger
    }
    piece.copy(kept, length)
    length += piece.length
  }

  return {
    get bytes() {
      return kept.subarray(0, length)
    },
    async has(count) {
      while (length < count) {
        const { value, done } = await rest.next()
        if (done) return false
        keep(value)
      }
      return true
    },
    async *whole() {
      if (length > 0) yield kept.subarray(0, length)
      for (;;) {
        const { value, done } = await rest.next()
        if (done) return
        yield value
      }
    },
    async drain() {
      while (!(await rest.next()).done);
    },
  }
}
