// What a Dockerfile may copy from: a directory of a repository as an archive, and a name for its content.
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Pack, pack } from 'tar-stream'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import { type TreeEntry, TreeTooLargeError, walk } from '../tree.ts'
import { type Ignored, parseDockerignore } from './dockerignore.ts'

/** Most bytes of a context. Builds are slow with less. */
const CONTEXT_BYTES = 1024 ** 3

/** Where the Dockerfile is in the archive: it may be outside of the context. */
export const DOCKERFILE = '.ambient.Dockerfile'
const IGNORE = '.dockerignore'

export interface BuildContext {
  /** A directory of this machine, and the context's path below it. */
  root: string
  path: string
  dockerfile: string
  /** The content of its .dockerignore; null where there is none. */
  ignore: string | null
  signal: AbortSignal
}

/** The same for the same content, whatever the files' times and owners are. @throws {RunFailureError} image_build_failed when there is too much of it. */
export async function contextHash(context: BuildContext): Promise<string> {
  const hash = createHash('sha256').update(`${context.dockerfile}\0`)
  for await (const entry of entriesOf(context)) {
    hash.update(`${entry.path}\0${entry.kind}\0${entry.mode}\0${entry.target ?? ''}\0${entry.size}\0`)
    if (entry.kind === 'file') for await (const part of contentOf(entry)) hash.update(part)
  }
  return hash.digest('hex')
}

/** The context for the daemon; it is read as the daemon takes it. */
export function packContext(context: BuildContext): Readable {
  const tar = pack()
  tar.on('error', () => {}) // Heard by whoever reads it.
  fill(tar, context).then(
    () => tar.finalize(),
    (error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))),
  )
  return Readable.from(tar)
}

async function fill(tar: Pack, context: BuildContext): Promise<void> {
  await addText(tar, DOCKERFILE, context.dockerfile)
  // The daemon takes both away before anything is copied, because this says so.
  await addText(tar, IGNORE, `${context.ignore ?? ''}\n${IGNORE}\n${DOCKERFILE}\n`)
  for await (const { path, kind, mode, size, modified, target, at } of entriesOf(context)) {
    const header = { name: path, type: kind, mode, mtime: modified, uid: 0, gid: 0 }
    if (kind === 'file') await add(tar, { ...header, size }, contentOf({ at, size }))
    else await add(tar, { ...header, size: 0, ...(kind === 'symlink' ? { linkname: target ?? '' } : {}) }, [])
  }
}

async function addText(tar: Pack, name: string, text: string): Promise<void> {
  const content = Buffer.from(text)
  await add(tar, { name, mode: 0o644, size: content.length }, [content])
}

async function add(
  tar: Pack,
  header: Parameters<Pack['entry']>[0],
  content: AsyncIterable<Buffer> | Buffer[],
): Promise<void> {
  if (header.size === 0) {
    await new Promise<void>((resolve, reject) => {
      tar.entry(header, Buffer.alloc(0), (error) => (error ? reject(error) : resolve()))
    })
  } else await pipeline(content, tar.entry(header))
}

async function* entriesOf(context: BuildContext): AsyncGenerator<TreeEntry> {
  const ignored: Ignored = parseDockerignore(context.ignore ?? '')
  let left = CONTEXT_BYTES
  const lost: string[] = []
  // A directory that is left out is not even looked into, unless something in it is an exception.
  const skip = { has: (path: string) => isOfGit(path) || (!ignored.hasExceptions && ignored.leavesOut(path)) }
  try {
    for await (const entry of walk({ root: context.root, path: context.path, skip }, context.signal, (path) =>
      lost.push(path),
    )) {
      if (entry.path === '' || entry.path === IGNORE || (ignored.hasExceptions && ignored.leavesOut(entry.path)))
        continue
      left -= entry.size
      if (left < 0) throw tooLarge(`more than ${CONTEXT_BYTES / 1024 ** 2} MiB`)
      yield entry
    }
  } catch (error) {
    throw error instanceof TreeTooLargeError ? tooLarge(error.message) : error
  }
  if (lost.length > 0) throw unreadable(lost)
}

/** No two clones have it alike. Builds from a git URL leave it out as well. */
const isOfGit = (path: string) => /(^|\/)\.git$/.test(path)

/** As many bytes as it had when it was looked at. */
async function* contentOf({ at, size }: Pick<TreeEntry, 'at' | 'size'>): AsyncGenerator<Buffer> {
  await using file = await open(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  let left = size
  while (left > 0) {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(left, 256 * 1024)))
    if (bytesRead === 0) throw new Error('a file of the context has changed while it was read')
    left -= bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

const tooLarge = (how: string) =>
  new RunFailureError({
    code: 'image_build_failed',
    phase: 'workspace',
    message: `What the Dockerfile may copy from has ${how}.`,
    nextStep: 'Leave out what it does not need by a .dockerignore in the context.',
  })

const unreadable = (paths: string[]) =>
  new RunFailureError({
    code: 'image_build_failed',
    phase: 'workspace',
    message: `${paths.length} files that the Dockerfile may copy cannot be read.`,
    logTail: logTail(paths.join('\n')),
    nextStep: 'Leave them out by a .dockerignore, or give them other names.',
  })
