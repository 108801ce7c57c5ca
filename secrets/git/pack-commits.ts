// The commits of a pack (gitformat-pack). Git writes them before all other objects, but for what it takes as it is from a
// pack that has a bitmap: that comes first, whole, and newer commits behind it. So others are read over.
import { createHash } from 'node:crypto'
import { setImmediate as pause } from 'node:timers/promises'
import { inflateSync } from 'node:zlib'
import type { Peek } from './peek.ts'

/** By the hash of what it says, so that whoever has sent it can say nothing of it that is not so. */
export type Parents = ReadonlyMap<string, readonly string[]>

export interface PackedCommits {
  parents: Parents
  /** False: there may be more of them than were read. */
  isWhole: boolean
}

/** Some forty thousand commits: the gateway has the pack in its memory, and others wait while it reads. In bytes. */
const PACKED_BYTES = 8 * 1024 * 1024
const UNPACKED_BYTES = 32 * 1024 * 1024
/** Others have their turn after so many. */
const AT_ONCE = 200
const HEADER = 12
const [COMMIT, BY_OFFSET, BY_ID] = [1, 6, 7]

/**
 * Of what is no pack none. Never throws but for the stream's own errors.
 * @param start where the pack begins.
 * @param isEnough asked once, at the first object that is no commit: whether what was read will do.
 */
export async function readCommits(
  pack: Peek,
  start: number,
  hash: 'sha1' | 'sha256',
  isEnough: (parents: Parents) => boolean = () => false,
): Promise<PackedCommits> {
  const parents = new Map<string, readonly string[]>()
  /** What commits say, by where they are: others are told as changes of them. */
  const texts = new Map<number, Buffer>()
  const places = new Map<string, number>()
  const read = { parents, isWhole: false }
  if (!(await pack.has(start + HEADER)) || pack.bytes.toString('latin1', start, start + 4) !== 'PACK') return read
  const count = pack.bytes.readUInt32BE(start + 8)
  let at = start + HEADER
  let unpacked = 0
  let hasAsked = false
  for (let index = 0; index < count; index++) {
    if (index % AT_ONCE === AT_ONCE - 1) await pause()
    const place = at
    await pack.has(at + ENTRY)
    const entry = entryAt(pack.bytes, at, hash)
    if (entry === null) return read
    const { kind, size, base } = entry
    const origin = kind === BY_OFFSET ? place - Number(base) : places.get(String(base))
    const former = origin === undefined ? undefined : texts.get(origin)
    const isCommit = kind === COMMIT || former !== undefined
    if (!isCommit && !hasAsked) {
      hasAsked = true
      if (isEnough(parents)) return read
    }
    unpacked += size
    if (unpacked > UNPACKED_BYTES || entry.end + size - start > PACKED_BYTES) return read
    await pack.has(entry.end + size + (size >> 8) + DEFLATE_MORE)
    const content = inflated(pack.bytes.subarray(entry.end), size)
    if (content === null) return read
    at = entry.end + content.length
    if (!isCommit) continue
    const text = former === undefined ? content.bytes : changed(former, content.bytes)
    if (text === null) return read
    unpacked += former === undefined ? 0 : text.length
    const id = createHash(hash).update(`commit ${text.length}\0`).update(text).digest('hex')
    parents.set(id, parentsIn(text))
    texts.set(place, text)
    places.set(id, place)
  }
  return { parents, isWhole: true }
}

/** The longest beginning of an object: its size, and the object that it is a change of. */
const ENTRY = 48
/** What cannot be made smaller is longer when it is packed: by this, and a little of its size. */
const DEFLATE_MORE = 64

interface Entry {
  kind: number
  /** Of what is packed behind it. */
  size: number
  /** How far back its base is, or the base's id. */
  base: number | string | null
  end: number
}

function entryAt(bytes: Buffer, start: number, hash: 'sha1' | 'sha256'): Entry | null {
  let at = start
  let byte = bytes[at++]
  if (byte === undefined) return null
  const kind = (byte >> 4) & 7
  let size = byte & 15
  for (let factor = 16; byte & 128; factor *= 128) {
    byte = bytes[at++]
    if (byte === undefined || factor > 2 ** 40) return null
    size += (byte & 127) * factor
  }
  if (kind === BY_ID) {
    const end = at + (hash === 'sha1' ? 20 : 32)
    return { kind, size, base: bytes.toString('hex', at, end), end }
  }
  if (kind !== BY_OFFSET) return { kind, size, base: null, end: at }
  let back = -1
  do {
    byte = bytes[at++]
    if (byte === undefined || back > 2 ** 40) return null
    back = (back + 1) * 128 + (byte & 127)
  } while (byte & 128)
  return { kind, size, base: back, end: at }
}

/** Null where it is not packed as it should be. `length`: of what is packed. */
function inflated(bytes: Buffer, size: number): { bytes: Buffer; length: number } | null {
  try {
    // With `info` it tells how far it has read; the types do not say so.
    const { buffer, engine } = inflateSync(bytes, {
      info: true,
      maxOutputLength: size + 1,
      // Of this size is what is kept with each.
      chunkSize: Math.max(64, size + 1),
    }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } }
    return buffer.length === size ? { bytes: buffer, length: engine.bytesWritten } : null
  } catch {
    return null // The server that it is for will say what is wrong with it.
  }
}

/** What a change makes of its base; null where it does not fit. */
function changed(base: Buffer, change: Buffer): Buffer | null {
  let at = 0
  const number = () => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const byte = change[at++] ?? 0
      value += (byte & 127) * factor
      if (!(byte & 128)) return value
    }
  }
  const from = number()
  const size = number()
  if (from !== base.length || size > UNPACKED_BYTES) return null
  const parts: Buffer[] = []
  let made = 0
  while (at < change.length && made <= size) {
    const what = change[at++] ?? 0
    let part: Buffer
    if (what & 128) {
      // Which bytes of the place and of the length follow, lowest first, is said by its bits.
      const field = (bits: readonly number[]) =>
        bits.reduce((sum, bit, place) => sum + (what & bit ? (change[at++] ?? 0) * 256 ** place : 0), 0)
      const place = field([1, 2, 4, 8])
      const length = field([16, 32, 64]) || 0x10000
      part = base.subarray(place, place + length)
      if (part.length !== length) return null
    } else {
      part = change.subarray(at, at + what)
      at += what
    }
    parts.push(part)
    made += part.length
  }
  return made === size ? Buffer.concat(parts) : null
}

/** As git has it, in the lines right behind the tree's: what is like them further on is of no meaning. */
function parentsIn(text: Buffer): string[] {
  const [, head = ''] = /^tree [0-9a-f]+\n((?:parent [0-9a-f]+\n)*)/.exec(text.toString('latin1')) ?? []
  return [...head.matchAll(/parent ([0-9a-f]+)\n/g)].map(([, id = '']) => id)
}
