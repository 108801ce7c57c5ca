// The same behaviour over every kind of object store; S3 against a server that checks signatures.
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import S3rver from '@20minutes/s3rver'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../config.ts'
import { createObjectStore } from './create.ts'
import { createFileStore } from './files.ts'
import { type ObjectStore, ObjectStoreError } from './object-store.ts'
import { createS3Store, type S3Options } from './s3.ts'

let directory: string
let server: S3rver
let s3: S3Options

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-objects-'))
  server = new S3rver({
    port: 0,
    address: '127.0.0.1',
    silent: true,
    directory: join(directory, 's3'),
    configureBuckets: [{ name: 'artifacts', configs: [] }],
  })
  const { port } = (await server.run()) as AddressInfo
  s3 = {
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    bucket: 'artifacts',
    accessKeyId: 'S3RVER',
    secretAccessKey: 'S3RVER',
    prefix: 'ambient/',
  }
})
afterAll(async () => {
  await server.close()
  await rm(directory, { recursive: true })
})

describe.each([
  ['files', () => createFileStore(join(directory, 'files'))],
  ['S3', () => createS3Store(s3)],
])('%s', (_name, create: () => ObjectStore) => {
  const read = async (store: ObjectStore, name: string) => {
    const content = await store.get(name)
    return content === null ? null : await buffer(content)
  }

  test('give back what they were given, whole, until it is removed', async () => {
    const store = create()
    const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => at % 251))
    expect(await read(store, 'abcdef')).toBeNull()
    await store.put('abcdef', content)
    await store.put('abcdef', content)
    expect((await read(store, 'abcdef'))?.equals(content)).toBe(true)
    await store.put('empty1', new Uint8Array())
    expect(await read(store, 'empty1')).toHaveLength(0)
    await store.remove('abcdef')
    await store.remove('abcdef')
    expect(await read(store, 'abcdef')).toBeNull()
    expect(await read(store, 'empty1')).toHaveLength(0)
  })
})

test('a link into S3 needs no key, says how it is to be served, and is of no use for anything else', async () => {
  const store = createS3Store(s3)
  await store.put('linked', Buffer.from('x'))
  await store.put('others', Buffer.from('y'))
  // Without the marks of `filename*`: this server signs them otherwise than S3 does.
  const disposition = 'attachment; filename="a b.txt"'
  const link = (await store.link('linked', { contentType: 'text/plain', disposition }, 60)) ?? ''
  const served = await fetch(link)
  expect([served.status, await served.text()]).toEqual([200, 'x'])
  expect(served.headers.get('content-disposition')).toBe(disposition)
  expect(served.headers.get('content-type')).toContain('text/plain')
  expect((await fetch(link.replace('linked', 'others'))).status).toBe(403)
  expect((await fetch(link, { method: 'DELETE' })).status).toBe(403)
})

test('a wrong key, a bucket that is not there, and a store that is away are said', async () => {
  const put = (options: Partial<S3Options>) => createS3Store({ ...s3, ...options }).put('abcd', Buffer.from('x'))
  await expect(put({ secretAccessKey: 'wrong' })).rejects.toThrow(/403: SignatureDoesNotMatch/)
  await expect(put({ bucket: 'nowhere' })).rejects.toThrow('has no bucket nowhere')
  await expect(put({ endpoint: 'http://127.0.0.1:9' })).rejects.toThrow(ObjectStoreError)
})

test('a name that could lead out of the directory is none', async () => {
  const store = createFileStore(join(directory, 'files'))
  for (const name of ['../secret', 'ab/cd', '', 'abc', 'ab\0cd'])
    await expect(store.put(name, Buffer.from('x'))).rejects.toThrow('not the name of a content')
})

test('a bucket without its key is refused at the start', () => {
  expect(() => createObjectStore(loadConfig({ AMBIENT_S3_BUCKET: 'artifacts' }))).toThrow('AMBIENT_S3_BUCKET needs')
})
