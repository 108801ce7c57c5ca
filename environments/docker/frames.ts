// The daemon sends stdout and stderr of a container in one stream, in frames of 8 bytes of head and a body.

export const STDOUT = 1
export const STDERR = 2

/** Takes chunks that may end anywhere and gives the bodies of one stream's frames, in pieces as they come. */
export class FrameReader {
  readonly #stream: number
  readonly #head = Buffer.alloc(8)
  #headFilled = 0
  #left = 0

  constructor(stream: typeof STDOUT | typeof STDERR) {
    this.#stream = stream
  }

  push(chunk: Buffer): Buffer[] {
    const bodies: Buffer[] = []
    let at = 0
    while (at < chunk.length) {
      if (this.#left === 0) {
        const copied = chunk.copy(this.#head, this.#headFilled, at, at + 8 - this.#headFilled)
        at += copied
        this.#headFilled += copied
        if (this.#headFilled < 8) break
        this.#headFilled = 0
        this.#left = this.#head.readUInt32BE(4)
      } else {
        const end = Math.min(chunk.length, at + this.#left)
        if (this.#head[0] === this.#stream) bodies.push(chunk.subarray(at, end))
        this.#left -= end - at
        at = end
      }
    }
    return bodies
  }
}
