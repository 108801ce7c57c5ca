// Finds a few fields of a JSON object while it streams by, without keeping the rest.

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Of a field that is looked for, and of a name. What is longer is none of those that are meant. */
const LONGEST_VALUE = 8 * 1024
const LONGEST_NAME = 256

/** Looks at the outermost object only. Text that is not JSON at all is told from its first byte. */
export class FieldScanner {
  readonly #wanted: ReadonlySet<string>
  readonly #found = new Map<string, unknown>()
  readonly #repeated = new Set<string>()
  #state: 'before' | 'inside' | 'after' | 'none' = 'before'
  #depth = 0
  #inString = false
  #escaped = false
  /** What is being kept: a name of the outermost object, or the value of a wanted one. */
  #keeping: 'name' | 'value' | null = null
  #kept: Buffer[] = []
  #keptBytes = 0
  #expectsName = true
  #name: string | null = null
  #offset = 0
  /** Where the outermost object begins, once it has. */
  start: number | null = null

  constructor(wanted: readonly string[]) {
    this.#wanted = new Set(wanted)
  }

  get fields(): ReadonlyMap<string, unknown> {
    return this.#found
  }

  /** Names of wanted fields that came twice: whoever reads the object may take either. */
  get repeated(): ReadonlySet<string> {
    return this.#repeated
  }

  /** The object has ended, or there is none. */
  get isOver(): boolean {
    return this.#state === 'after' || this.#state === 'none'
  }

  feed(chunk: Buffer): void {
    for (let i = 0; i < chunk.length && !this.isOver; )
      i = this.#inString ? this.#string(chunk, i) : this.#step(chunk, i)
    this.#offset += chunk.length
  }

  #string(chunk: Buffer, from: number): number {
    for (let at = from; ; ) {
      const quote = chunk.indexOf(QUOTE, at)
      const end = quote === -1 ? chunk.length : quote
      let backslashes = 0
      while (end - backslashes > from && chunk[end - backslashes - 1] === BACKSLASH) backslashes++
      // One that the chunk before ended with counts where nothing else came between.
      const isEscaped = (backslashes + (end - backslashes === from && this.#escaped ? 1 : 0)) % 2 === 1
      if (quote === -1) {
        this.#escaped = isEscaped
        this.#keep(chunk, from, end)
        return end
      }
      if (isEscaped) {
        at = quote + 1
        continue
      }
      this.#inString = false
      this.#escaped = false
      this.#keep(chunk, from, quote + 1)
      if (this.#keeping === 'name') this.#takeName()
      return quote + 1
    }
  }

  #step(chunk: Buffer, at: number): number {
    const byte = chunk[at] ?? 0
    const isSpace = byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
    if (this.#state === 'before') {
      if (isSpace) return at + 1
      if (byte !== 0x7b) {
        this.#state = 'none'
        return at
      }
      this.#state = 'inside'
      this.#depth = 1
      this.start = this.#offset + at
      return at + 1
    }
    const isOutermost = this.#depth === 1
    if (isOutermost && (byte === 0x2c || byte === 0x7d)) {
      this.#takeValue()
      this.#expectsName = true
      if (byte === 0x7d) this.#state = 'after'
      return at + 1
    }
    if (byte === QUOTE) {
      this.#inString = true
      if (isOutermost && this.#expectsName) this.#keeping = 'name'
    } else if (byte === 0x7b || byte === 0x5b) this.#depth++
    else if (byte === 0x7d || byte === 0x5d) this.#depth--
    else if (byte === 0x3a && isOutermost && this.#expectsName) {
      this.#expectsName = false
      if (this.#name !== null && this.#wanted.has(this.#name)) this.#keeping = 'value'
      return at + 1
    }
    this.#keep(chunk, at, at + 1)
    return at + 1
  }

  #keep(chunk: Buffer, from: number, to: number): void {
    if (this.#keeping === null) return
    this.#keptBytes += to - from
    const longest = this.#keeping === 'name' ? LONGEST_NAME : LONGEST_VALUE
    // A copy: the chunk is not to stay in memory for it.
    if (this.#keptBytes <= longest) this.#kept.push(Buffer.from(chunk.subarray(from, to)))
  }

  #takeKept(): unknown {
    const longest = this.#keeping === 'name' ? LONGEST_NAME : LONGEST_VALUE
    const text = this.#keptBytes > longest ? null : Buffer.concat(this.#kept).toString('utf8')
    this.#keeping = null
    this.#kept = []
    this.#keptBytes = 0
    if (text === null) return undefined
    try {
      return JSON.parse(text)
    } catch {
      return undefined // Not JSON. Whoever gets it will say so.
    }
  }

  #takeName(): void {
    const name = this.#takeKept()
    this.#name = typeof name === 'string' ? name : null
  }

  #takeValue(): void {
    if (this.#keeping !== 'value' || this.#name === null) return
    const value = this.#takeKept()
    if (this.#found.has(this.#name)) this.#repeated.add(this.#name)
    this.#found.set(this.#name, value)
  }
}
