import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import Docker from 'dockerode'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ensureImage } from './image.ts'
import { fetchedImages } from './image-upkeep.ts'

const docker = new Docker()
const HOUR = 60 * 60_000

let directory: string
let registry: Server
let port: number

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-images-'))
  registry = await startRegistry()
  port = (registry.address() as AddressInfo).port
})
afterEach(async () => {
  for (const name of ['one', 'two', 'three', 'mine', 'late']) {
    await docker
      .getImage(nameOf(name))
      .remove({ force: true })
      .catch(() => {})
  }
  registry.close()
  await rm(directory, { recursive: true, force: true })
})

const nameOf = (name: string) => `127.0.0.1:${port}/${name}:1`
const isThere = (name: string) =>
  docker
    .getImage(nameOf(name))
    .inspect()
    .then(
      () => true,
      () => false,
    )

test('of the images that were fetched those go that were unused longest, and none that is needed or a person has brought', async () => {
  let time = 0
  const images = fetchedImages(docker, directory, () => time)
  const fetch = async (name: string) => {
    time += HOUR
    await ensureImage(docker, nameOf(name), undefined, images)
  }
  // A person's own: it was there before it was asked for.
  await ensureImage(docker, nameOf('mine'))
  for (const name of ['mine', 'one', 'two', 'three', 'late']) await fetch(name)
  const { Size } = await docker.getImage(nameOf('one')).inspect()
  const container = await docker.createContainer({ Image: nameOf('two'), Cmd: ['never'] })
  try {
    time += HOUR
    await images.used(nameOf('one'))
    // One was used since, two has a container, and late is spared: so three is the one.
    expect(await images.trim(3 * Size, nameOf('late'))).toEqual([nameOf('three')])
    expect(await images.trim(3 * Size, nameOf('late'))).toEqual([])
    // Used a moment ago.
    expect(await images.trim(0, nameOf('late'))).toEqual([])
    time += HOUR
    expect(await images.trim(0, nameOf('late'))).toEqual([nameOf('one')])
  } finally {
    await container.remove()
  }
  const names = ['mine', 'one', 'two', 'three', 'late']
  expect(await Promise.all(names.map(isThere))).toEqual([true, false, true, false, true])
})

test('an image that a person has replaced by another one of its name is theirs', async () => {
  let time = 0
  const images = fetchedImages(docker, directory, () => time)
  await ensureImage(docker, nameOf('one'), undefined, images)
  await ensureImage(docker, nameOf('two'))
  await docker.getImage(nameOf('one')).remove()
  await docker.getImage(nameOf('two')).tag({ repo: `127.0.0.1:${port}/one`, tag: '1' })
  time += HOUR
  expect(await images.trim(0, 'none')).toEqual([])
  expect(await isThere('one')).toBe(true)
})

/** A registry that has an image of one small file under every name. */
async function startRegistry(): Promise<Server> {
  const blobs = new Map<string, Buffer>()
  const add = (content: Buffer) => {
    const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
    blobs.set(digest, content)
    return { digest, size: content.length }
  }
  async function manifestOf(name: string): Promise<Buffer> {
    const layer = pack()
    layer.entry({ name: 'file' }, Buffer.alloc(100_000, name))
    layer.finalize()
    const content = await buffer(layer)
    const { digest } = add(content)
    const config = add(
      Buffer.from(
        JSON.stringify({
          architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
          os: 'linux',
          config: {},
          rootfs: { type: 'layers', diff_ids: [digest] },
        }),
      ),
    )
    const type = 'application/vnd.docker'
    return Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: `${type}.distribution.manifest.v2+json`,
        config: { mediaType: `${type}.container.image.v1+json`, ...config },
        layers: [{ mediaType: `${type}.image.rootfs.diff.tar`, digest, size: content.length }],
      }),
    )
  }
  const server = createServer(async (request, response) => {
    const [, name = '', kind, what = ''] = /^\/v2\/(\w+)\/(manifests|blobs)\/(.+)$/.exec(request.url ?? '') ?? []
    const isManifest = kind === 'manifests'
    const body = isManifest ? await manifestOf(name) : blobs.get(what)
    if (isManifest && body) response.setHeader('docker-content-digest', add(body).digest)
    const type = isManifest ? 'application/vnd.docker.distribution.manifest.v2+json' : 'application/octet-stream'
    response.setHeader('content-type', type)
    if (request.url === '/v2/') response.end('{}')
    else if (body === undefined) response.writeHead(404).end()
    else response.setHeader('content-length', body.length).end(request.method === 'HEAD' ? undefined : body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}
