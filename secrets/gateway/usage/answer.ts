// Reads the usage from an answer as it streams by. What it reads is a copy: no byte is changed, none waits for its sake
// but the last.

import type { Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import type { TokenUsage } from '../../../domain/models/call.ts'
import type { UsageReader } from './reader.ts'

/** Of one event, or of a body that is no stream. What is longer is not read, and reckoned by its length. */
const LONGEST_BYTES = 16 * 1024 * 1024

export interface AnswerMeter {
  /** @returns whether the chunk is to be held back until the next one or the end: it may be the last. */
  feed(chunk: Buffer): 'pass' | 'hold' | 'last'
  /** After the last chunk: what was compressed is read to its end. */
  end(): Promise<void>
  told(): TokenUsage | null
  /** False: the answer ended before it told all of it. */
  isFinal(): boolean
  characters(): number
}

/** `type` and `encoding`: headers of the answer. */
export function meterAnswer(reader: UsageReader, type: string, encoding: string): AnswerMeter {
  const text = type.startsWith('text/event-stream') ? eventReader(reader) : bodyReader(reader)
  const decoder = decoderFor(encoding)
  if (decoder === null)
    return { ...meterOf(reader, text), feed: (chunk) => text.feed(chunk), end: async () => text.end() }
  let isBroken = false
  const ended = new Promise<void>((resolve) => {
    decoder.on('data', (part: Buffer) => text.feed(part))
    decoder.once('end', resolve)
    decoder.once('error', () => {
      // Nobody can read it; it is passed on, and reckoned.
      isBroken = true
      resolve()
    })
  })
  return {
    ...meterOf(reader, text),
    feed(chunk) {
      if (!isBroken) decoder.write(chunk)
      // It is read later than it passes by. Only the end waits.
      return 'pass'
    },
    async end() {
      if (!isBroken) decoder.end()
      await ended
      text.end()
    },
  }
}

const meterOf = (reader: UsageReader, text: TextReader) => ({
  told: () => reader.told(),
  isFinal: () => reader.isFinal(),
  characters: () => reader.characters() + text.unread(),
})

interface TextReader {
  feed(chunk: Buffer): 'pass' | 'hold' | 'last'
  end(): void
  /** Bytes that were too long to be read. */
  unread(): number
}

const LF = 10

/** Server-sent events: every `data:` line is a JSON value. */
function eventReader(reader: UsageReader): TextReader {
  let parts: Buffer[] = []
  let length = 0
  let unread = 0

  function readLine(): 'last' | 'maybe' | 'more' {
    const line = parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts)
    const isWhole = line.length === length
    parts = []
    length = 0
    if (!isWhole || line.length < 6 || line.toString('latin1', 0, 5) !== 'data:') return 'more'
    const text = line.toString('utf8', 5).trim()
    if (text === '[DONE]') return 'last'
    const value = parsed(text)
    return value === undefined ? 'more' : reader.read(value)
  }

  return {
    unread: () => unread,
    feed(chunk) {
      let said: 'pass' | 'hold' | 'last' = 'pass'
      for (let from = 0; from < chunk.length; ) {
        const at = chunk.indexOf(LF, from)
        const part = chunk.subarray(from, at === -1 ? chunk.length : at)
        length += part.length
        if (length <= LONGEST_BYTES) parts.push(part)
        else unread += part.length
        if (at === -1) break
        from = at + 1
        const line = readLine()
        if (line === 'last') said = 'last'
        else if (said !== 'last') said = line === 'maybe' ? 'hold' : said
      }
      return said
    },
    end() {
      readLine()
    },
  }
}

/** One JSON body, read when it is whole. What may be its last bytes shows by its brackets. */
function bodyReader(reader: UsageReader): TextReader {
  const parts: Buffer[] = []
  let opening: string | null = null
  let length = 0
  return {
    unread: () => (length > LONGEST_BYTES ? length : 0),
    feed(chunk) {
      length += chunk.length
      if (length <= LONGEST_BYTES) parts.push(chunk)
      else parts.length = 0
      opening ??= edgeOf(chunk, 'first')
      const closing = opening === '[' ? ']' : opening === '{' ? '}' : null
      return closing !== null && edgeOf(chunk, 'last') === closing ? 'hold' : 'pass'
    },
    end() {
      if (length > LONGEST_BYTES) return
      const value = parsed(Buffer.concat(parts).toString('utf8'))
      if (value !== undefined) reader.read(value)
    },
  }
}

/** The first or last character that is no white space; null where there is none. */
function edgeOf(chunk: Buffer, which: 'first' | 'last'): string | null {
  for (let i = 0; i < chunk.length; i++) {
    const byte = chunk[which === 'first' ? i : chunk.length - 1 - i] ?? 0
    if (byte > 0x20) return String.fromCharCode(byte)
  }
  return null
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // Torn, or no JSON at all: nothing to count.
  }
}

function decoderFor(encoding: string): Transform | null {
  switch (encoding.trim().toLowerCase()) {
    case '':
    case 'identity':
      return null
    case 'gzip':
    case 'x-gzip':
      return createGunzip()
    case 'deflate':
      return createInflate()
    case 'br':
      return createBrotliDecompress()
    case 'zstd':
      return createZstdDecompress()
    default:
      // Nobody asked for it, and it cannot be read: as a body that is no JSON.
      return createInflate()
  }
}
