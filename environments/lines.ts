// Cuts a stream of bytes into lines.

/** Most bytes of one line that are kept in memory; what is beyond is counted, not kept. */
export const LINE_BYTES = 32 * 1024 * 1024

export interface Line {
  /** Without its newline; invalid UTF-8 is replaced by U+FFFD. */
  text: string
  truncatedBytes: number
}

const NEWLINE = 0x0a

/** Takes chunks that may end anywhere, in mid-character too, and gives whole lines. */
export class LineSplitter {
  readonly #keep: number
  #parts: Buffer[] = []
  #kept = 0
  #dropped = 0

  constructor(keep = LINE_BYTES) {
    this.#keep = keep
  }

  /** The lines that this chunk completes. */
  push(chunk: Buffer): Line[] {
    const lines: Line[] = []
    let from = 0
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      this.#take(chunk.subarray(from, at))
      lines.push(this.#line())
      from = at + 1
    }
    this.#take(chunk.subarray(from))
    return lines
  }

  /** The last line, where the stream ended without a newline. */
  end(): Line[] {
    return this.#kept + this.#dropped > 0 ? [this.#line()] : []
  }

  #take(bytes: Buffer): void {
    const room = Math.min(bytes.length, this.#keep - this.#kept)
    if (room > 0) this.#parts.push(bytes.subarray(0, room))
    this.#kept += room
    this.#dropped += bytes.length - room
  }

  #line(): Line {
    // Decoded only when whole, so that a character cut by a chunk's end stays whole.
    const text = Buffer.concat(this.#parts, this.#kept).toString('utf8')
    const line = { text, truncatedBytes: this.#dropped }
    this.#parts = []
    this.#kept = 0
    this.#dropped = 0
    return line
  }
}
