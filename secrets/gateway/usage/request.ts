// Reads from a request which model is called, before it goes out. Mostly its first chunk tells; the rest then streams on.
import type http from 'node:http'
import { promisify } from 'node:util'
import { brotliDecompress, gunzip, type InputType, inflate, zstdDecompress } from 'node:zlib'
import type { CallKind } from './kinds.ts'
import { FieldScanner } from './scanner.ts'

/** Of one request, until its model is known. Providers take 32 MB at most. */
const LONGEST_HELD = 64 * 1024 * 1024
/** Of all together. */
const ALL_HELD = 256 * 1024 * 1024

export interface ReadRequest {
  /** Null: it names none. */
  model: string | null
  /** What has been read and, behind it, what is still to come. */
  body: AsyncIterable<Buffer>
  /** Of the body; null: not known yet. */
  length: number | null
}

/** Why a request cannot be passed on. */
export class UnreadableRequest extends Error {
  override readonly name = 'UnreadableRequest'
  readonly kind: 'invalid' | 'too_large' | 'unavailable'
  constructor(kind: UnreadableRequest['kind'], message: string) {
    super(message)
    this.kind = kind
  }
}

const wanted = ['model', 'stream', 'stream_options', 'background'] as const

const ASKS_FOR_USAGE = Buffer.from('"stream_options":{"include_usage":true},')

let held = 0

/**
 * @throws {UnreadableRequest} here, or from the body when what is wrong comes later.
 * The body is to be read to its end, or {@link http.IncomingMessage.resume | resumed}.
 */
export async function readRequest(request: http.IncomingMessage, kind: CallKind): Promise<ReadRequest> {
  const declared = lengthOf(request)
  const scanner = new FieldScanner(wanted)
  const encoding = request.headers['content-encoding'] ?? 'identity'
  const isPacked = encoding.toLowerCase() !== 'identity'
  // Whether a stream tells its usage is asked for anywhere in the request, and may have to be added.
  const needsAll = kind.isChat || isPacked
  const chunks = request.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]()
  const first: Buffer[] = []
  let bytes = 0
  let isEnded = false
  try {
    const isEnough = () => scanner.isOver || (!needsAll && (scanner.fields.has('model') || kind.model !== null))
    while (isPacked || !isEnough()) {
      const next = await chunks.next()
      if (next.done === true) {
        isEnded = true
        break
      }
      const chunk = next.value as Buffer
      first.push(chunk)
      bytes += chunk.length
      held += chunk.length
      if (bytes > LONGEST_HELD)
        throw new UnreadableRequest('too_large', `A request names its model within its first ${LONGEST_HELD} bytes.`)
      if (held > ALL_HELD)
        throw new UnreadableRequest('unavailable', 'Too many large requests are under way. Try again in a moment.')
      if (!isPacked) scanner.feed(chunk)
    }
    if (isPacked) scanner.feed(await unpacked(encoding, Buffer.concat(first)))
    check(scanner, kind)
  } finally {
    held -= bytes
  }

  const isStream = kind.isChat && scanner.fields.get('stream') === true && scanner.fields.get('stream_options') == null
  const adds = isStream && !isPacked && !scanner.fields.has('stream_options') && scanner.start !== null
  const sent = adds ? [inserted(Buffer.concat(first), (scanner.start ?? 0) + 1)] : first
  const added = adds ? ASKS_FOR_USAGE.length : 0

  async function* body(): AsyncGenerator<Buffer> {
    for (const chunk of sent.splice(0)) yield chunk
    while (!isEnded) {
      const next = await chunks.next()
      if (next.done === true) return
      const chunk = next.value as Buffer
      if (!isPacked && !scanner.isOver) {
        scanner.feed(chunk)
        check(scanner, kind)
      }
      yield chunk
    }
  }

  const named = kind.model ?? scanner.fields.get('model')
  const length = isEnded ? bytes + added : declared === null ? null : declared + added
  return { model: typeof named === 'string' && named !== '' ? named : null, body: body(), length }
}

/** @throws {UnreadableRequest} */
function check(scanner: FieldScanner, kind: CallKind): void {
  if (scanner.repeated.size > 0)
    throw new UnreadableRequest('invalid', `The request has "${[...scanner.repeated][0]}" twice.`)
  if (kind.model !== null) return
  if (scanner.fields.get('background') === true)
    throw new UnreadableRequest(
      'invalid',
      'The gateway passes on no calls in the background: what they cost is told to nobody.',
    )
}

function inserted(body: Buffer, at: number): Buffer {
  return Buffer.concat([body.subarray(0, at), ASKS_FOR_USAGE, body.subarray(at)])
}

function lengthOf(request: http.IncomingMessage): number | null {
  const text = request.headers['content-length']
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : null
}

type Unpack = (data: InputType, options: { maxOutputLength: number }) => Promise<Buffer>

const unpackers: Readonly<Record<string, Unpack>> = {
  gzip: promisify(gunzip) as Unpack,
  deflate: promisify(inflate) as Unpack,
  br: promisify(brotliDecompress) as Unpack,
  zstd: promisify(zstdDecompress) as Unpack,
}

/** @throws {UnreadableRequest} */
async function unpacked(encoding: string, body: Buffer): Promise<Buffer> {
  const unpack = unpackers[encoding.toLowerCase()]
  if (unpack === undefined)
    throw new UnreadableRequest('invalid', `A body packed as "${encoding}" cannot be read here.`)
  try {
    return await unpack(body, { maxOutputLength: LONGEST_HELD })
  } catch {
    throw new UnreadableRequest('invalid', `The body is not what its content-encoding says, "${encoding}".`)
  }
}
