// Images: there or fetched, and a name for the sandbox's user in them.
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type Docker from 'dockerode'
import { extract, pack } from 'tar-stream'
import { RunFailureError } from '../../domain/failure.ts'
import { isPassingTrouble } from '../passing-trouble.ts'
import type { Owner } from '../run-directory.ts'
import { ask, askFor, explained, messageOf } from './daemon.ts'
import type { FetchedImages } from './image-upkeep.ts'

/** The image, fetched from its registry where this machine does not have it, and noted among `images` then. @returns its id. */
export async function ensureImage(
  docker: Docker,
  image: string,
  signal?: AbortSignal,
  images?: FetchedImages,
): Promise<string> {
  const there = await askFor('workspace', () => docker.getImage(image).inspect())
  if (there !== null) {
    await images?.used(image)
    return there.Id
  }
  try {
    await pull(docker, image, signal)
  } catch (error) {
    signal?.throwIfAborted()
    const known = explained(error, 'workspace')
    if (known instanceof RunFailureError) throw known
    if (isPassing(messageOf(error))) throw registryUnavailable(image, messageOf(error), error)
    throw imageNotFound(image, messageOf(error), error)
  }
  const { Id } = await ask('workspace', () => docker.getImage(image).inspect())
  await images?.fetched(image, Id)
  return Id
}

async function pull(docker: Docker, image: string, signal: AbortSignal | undefined): Promise<void> {
  const progress = await docker.pull(image, signal ? { abortSignal: signal } : {})
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(progress, (error: Error | null) => (error === null ? resolve() : reject(error)))
  })
}

/** Where the registry's very name is not found, waiting helps nobody. */
const isPassing = (said: string) => !/lookup /.test(said) && isPassingTrouble(said)

function registryUnavailable(image: string, log: string, cause: unknown): RunFailureError {
  return new RunFailureError(
    {
      code: 'registry_unavailable',
      phase: 'workspace',
      message: `The image ${image} could not be fetched: its registry is in trouble.`,
      logTail: log,
      nextStep: `Try again when the registry answers, or bring the image onto the host (docker load).`,
    },
    { cause },
  )
}

function imageNotFound(image: string, log: string, cause: unknown): RunFailureError {
  return new RunFailureError(
    {
      code: 'image_not_found',
      phase: 'workspace',
      message: `The image ${image} is not on this host and could not be fetched.`,
      logTail: log,
      nextStep: `Check the image's name, or bring it onto the host (docker pull ${image}, docker load, docker import).`,
    },
    { cause },
  )
}

/** An image may have been made by anyone, and its users are read into memory. */
const PASSWD_BYTES = 1024 * 1024

/** What is appended to /etc/passwd for images that do not know the sandbox's user; null for those that do, or whose list of users is too large to be one. By image id and user: an image never changes. */
export type PasswdCache = Map<string, string | null>

/**
 * Gives the sandbox's user a name in a container that has not been started yet:
 * git, ssh and others refuse to work for a user without one.
 */
export async function nameUser(
  container: Docker.Container,
  imageId: string,
  owner: Owner,
  home: string,
  cache: PasswdCache,
): Promise<void> {
  const key = `${imageId} ${owner.uid}`
  let passwd = cache.get(key)
  if (passwd === undefined) {
    const there = await readPasswd(container)
    passwd = there === null ? null : completedPasswd(there, owner, home)
    cache.set(key, passwd)
  }
  if (passwd === null) return
  const archive = await buffer(packed('passwd', passwd))
  await ask('workspace', () => container.putArchive(archive, { path: '/etc' }))
}

function packed(name: string, content: string): NodeJS.ReadableStream {
  const archive = pack()
  archive.entry({ name, mode: 0o644 }, content)
  archive.finalize()
  return Readable.from(archive)
}

function completedPasswd(passwd: string, { uid, gid }: Owner, home: string): string | null {
  const lines = passwd.split('\n').filter((line) => line !== '')
  if (lines.some((line) => line.split(':')[2] === String(uid))) return null
  const taken = lines.some((line) => line.startsWith('agent:'))
  const name = taken ? `agent${uid}` : 'agent'
  return `${[...lines, `${name}:x:${uid}:${gid}::${home}:/bin/sh`].join('\n')}\n`
}

/** Empty where the image has none; null where it is larger than any list of users. */
export async function readPasswd(container: Docker.Container): Promise<string | null> {
  const archive = await askFor('workspace', () => container.getArchive({ path: '/etc/passwd' }))
  if (archive === null) return ''
  const parts: Buffer[] = []
  let length = 0
  const reader = extract()
  archive.pipe(reader)
  try {
    for await (const entry of reader) {
      // A link is replaced.
      if (entry.header.type !== 'file') return ''
      for await (const part of entry) {
        parts.push(part as Buffer)
        length += (part as Buffer).length
        if (length > PASSWD_BYTES) return null
      }
    }
  } finally {
    reader.destroy()
    if ('destroy' in archive && typeof archive.destroy === 'function') archive.destroy()
  }
  return Buffer.concat(parts).toString('utf8')
}
