// Contents in a bucket of an S3-compatible object store, addressed by path: every such store understands that.
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { AwsClient } from 'aws4fetch'
import { type ObjectStore, ObjectStoreError } from './object-store.ts'

export interface S3Options {
  endpoint: string
  region: string
  bucket: string
  accessKeyId: string
  secretAccessKey: string
  /** Before each name, such as `ambient/`. */
  prefix: string
}

/** A store that takes longer for the first byte, beside what it is sent, is not there. */
const ANSWER_MS = 30_000
/** What is sent may take so long: 1 MB a second. */
const BYTES_PER_MS = 1_000

export function createS3Store(options: S3Options): ObjectStore {
  const { region, accessKeyId, secretAccessKey } = options
  // It tries again by itself where the store is busy or breaks.
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: 's3', retries: 4 })
  const url = (name: string) =>
    `${options.endpoint}/${encodeURIComponent(options.bucket)}/${`${options.prefix}${name}`
      .split('/')
      .map(encodeURIComponent)
      .join('/')}`

  async function ask(name: string, init: RequestInit, bytes = 0): Promise<Response> {
    let response: Response
    const late = new AbortController()
    // Up to its headers: what comes then goes as fast as it is read, and that may be slow.
    const timer = setTimeout(() => late.abort(new Error('timed out')), ANSWER_MS + bytes / BYTES_PER_MS)
    try {
      response = await client.fetch(url(name), { ...init, signal: late.signal })
    } catch (error) {
      throw new ObjectStoreError(`The object store does not answer: ${reason(error)}.`, { cause: error })
    } finally {
      clearTimeout(timer)
    }
    if (response.ok || response.status === 404) return response
    throw new ObjectStoreError(`The object store answers ${response.status}: ${codeOf(await response.text())}.`)
  }

  return {
    async put(name, content) {
      // With its hash signed, so that what arrives is what was sent.
      const response = await ask(name, { method: 'PUT', body: Buffer.from(content) }, content.length)
      await response.body?.cancel()
      if (!response.ok) throw new ObjectStoreError(`The object store has no bucket ${options.bucket}.`)
    },
    async get(name) {
      const response = await ask(name, {})
      if (response.ok && response.body) return Readable.fromWeb(response.body as ReadableStream)
      await response.body?.cancel()
      return null
    },
    async remove(name) {
      await (await ask(name, { method: 'DELETE' })).body?.cancel()
    },
    async link(name, { contentType, disposition }, seconds) {
      const target = new URL(url(name))
      target.searchParams.set('X-Amz-Expires', String(seconds))
      target.searchParams.set('response-content-type', contentType)
      target.searchParams.set('response-content-disposition', disposition)
      const signed = await client.sign(target.toString(), { aws: { signQuery: true } })
      return strictly(new URL(signed.url))
    },
  }
}

/** With the query as it was signed: a plus for a space, and marks that stand for themselves, are read in two ways. */
function strictly(url: URL): string {
  const encoded = (text: string) =>
    encodeURIComponent(text).replaceAll(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`)
  const query = [...url.searchParams].map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join('&')
  return `${url.origin}${url.pathname}?${query}`
}

const codeOf = (xml: string) => /<Code>([\w.]+)<\/Code>/.exec(xml)?.[1] ?? 'no reason given'

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  return cause instanceof Error ? cause.message : error.message
}
