// An archive of files for another host: a tar, compressed, written to this machine's disk and read back a piece at a time.
import { constants, createReadStream, createWriteStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip, constants as zlib } from 'node:zlib'
import { extract, type Header, type Pack, pack } from 'tar-stream'
import { CHECKPOINT_MB } from '../../domain/limits.ts'
import { isErrno } from '../errno.ts'
import { HEAD_BYTES, type Tree, walk } from '../tree.ts'

type NewHeader = Parameters<Pack['entry']>[0]

const CHUNK_BYTES = 256 * 1024

/** What was to be archived is larger than it may be. */
export class ArchiveTooLargeError extends Error {
  override readonly name = 'ArchiveTooLargeError'
}

export interface ArchiveWriter {
  text(name: string, content: string): Promise<void>
  /** A file that is open, up to the size it has now. */
  file(name: string, handle: FileHandle): Promise<void>
  /** Everything in a tree, as `<name>/<path>`. Tells of what could not be read. */
  tree(name: string, tree: Tree, onLost: (path: string) => void): Promise<void>
}

/**
 * Writes an archive. It counts what goes into it, before it is compressed.
 * @throws {ArchiveTooLargeError}; {TreeTooLargeError}
 */
export async function writeArchive(
  path: string,
  limits: { maxBytes: number; signal: AbortSignal },
  fill: (archive: ArchiveWriter) => Promise<void>,
): Promise<void> {
  const { signal } = limits
  const tar = pack()
  let left = limits.maxBytes
  const add = async (headers: NewHeader, content: AsyncIterable<Buffer> | null) => {
    left -= HEAD_BYTES + (headers.size ?? 0)
    if (left < 0) throw new ArchiveTooLargeError(`more than ${limits.maxBytes} bytes`)
    await addEntry(tar, headers, content)
  }
  const archive: ArchiveWriter = {
    text: (name, content) => add({ name, size: Buffer.byteLength(content) }, Readable.from([Buffer.from(content)])),
    async file(name, handle) {
      const { size } = await handle.stat()
      await add({ name, size }, exactly(handle, size))
    },
    async tree(name, tree, onLost) {
      for await (const { path: below, kind, mode, size, modified, target, at } of walk(tree, signal, onLost)) {
        const headers = { name: below === '' ? name : `${name}/${below}`, mode, mtime: modified, type: kind }
        if (kind === 'symlink') await add({ ...headers, linkname: target ?? '', size: 0 }, null)
        else if (kind === 'directory') await add({ ...headers, size: 0 }, null)
        else {
          await using file = await openIfFile(at)
          if (file === null) onLost(below)
          else await add({ ...headers, size }, exactly(file, size))
        }
      }
    },
  }
  // Its level costs least: what is large here comes compressed.
  const written = pipeline(tar, createGzip({ level: zlib.Z_BEST_SPEED }), createWriteStream(path, { mode: 0o600 }), {
    signal,
  })
  try {
    await Promise.race([fill(archive), written])
    tar.finalize()
  } catch (error) {
    tar.destroy()
    await written.catch(() => {}) // It has ended because of what is thrown here.
    throw error
  }
  await written
}

/** Null where there is no file that may be read any more. */
export async function openIfFile(path: string): Promise<FileHandle | null> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    if ((await file.stat()).isFile()) return file
    await file.close()
    return null
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ELOOP', 'EACCES', 'ENXIO')) return null
    throw error
  }
}

/** As many bytes as were promised, whatever becomes of the file meanwhile. */
async function* exactly(file: FileHandle, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < size; ) {
    const wanted = Math.min(CHUNK_BYTES, size - at)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(wanted), 0, wanted, at)
    // A file that has become shorter is filled up.
    const part = bytesRead === 0 ? buffer : buffer.subarray(0, bytesRead)
    at += part.length
    yield part
  }
}

async function addEntry(tar: Pack, headers: NewHeader, content: AsyncIterable<Buffer> | null): Promise<void> {
  if (content === null || headers.size === 0) {
    await new Promise<void>((resolve, reject) => {
      tar.entry(headers, Buffer.alloc(0), (error) => (error ? reject(error) : resolve()))
    })
    return
  }
  await pipeline(content, tar.entry(headers))
}

export interface ArchiveEntry {
  name: string
  headers: Header
  content: AsyncIterable<Buffer>
}

/** No host makes a larger one: whatever claims to hold more is no checkpoint. */
const UNPACKED_BYTES = CHECKPOINT_MB * 1024 * 1024

/**
 * Reads an archive, an entry at a time; what is left of an entry's content is
 * passed over. Ends early when the reader does.
 * @throws {ArchiveTooLargeError}
 */
export async function* readArchive(path: string, signal: AbortSignal): AsyncGenerator<ArchiveEntry> {
  const tar = extract()
  const read = pipeline(createReadStream(path), createGunzip(), tar, { signal })
  read.catch(() => {}) // Heard by whoever reads the entries.
  try {
    let bytes = 0
    for await (const entry of tar) {
      signal.throwIfAborted()
      bytes += entry.header.size
      if (bytes > UNPACKED_BYTES) throw new ArchiveTooLargeError('it holds more than any checkpoint may')
      yield {
        name: entry.header.name,
        headers: entry.header,
        content: entry as AsyncIterable<unknown> as AsyncIterable<Buffer>,
      }
      entry.resume()
    }
  } finally {
    tar.destroy()
  }
}
