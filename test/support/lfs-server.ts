// A small server of Git LFS for tests: its batch API, and the objects themselves. Who asks, its caller has found out.
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { buffer, json } from 'node:stream/consumers'

export interface LfsServer {
  /** Objects by their ids. */
  files: Map<string, Buffer>
  /** Keeps a file. @returns the text of its pointer. */
  keep(content: string): string
  /** Where objects are that are no longer here, by their ids. */
  moved: Map<string, string>
  /** Of lists that were asked for: what for, and for which ref. */
  asked: { operation: string; ref: string | null }[]
  /** False: the request is none of Git LFS. `mayWrite`: whoever asks may upload. */
  serve(request: IncomingMessage, response: ServerResponse, mayWrite: boolean): boolean
}

interface Batch {
  operation: 'download' | 'upload'
  ref?: { name: string }
  objects: { oid: string; size: number }[]
}

const TYPE = 'application/vnd.git-lfs+json'
/** Uploads have to show it beside what lets in to the repository, as those to another store would. */
const TICKET = 'ticket-of-this-upload'

const idOf = (content: Buffer | string) => createHash('sha256').update(content).digest('hex')

/** `url`: where the server of the repositories is. */
export function lfsServer(url: () => string): LfsServer {
  const files = new Map<string, Buffer>()
  const moved = new Map<string, string>()
  const asked: LfsServer['asked'] = []

  const refuse = (response: ServerResponse, status: number, message: string) =>
    response.writeHead(status, { 'content-type': TYPE }).end(JSON.stringify({ message }))

  async function batch(request: IncomingMessage, response: ServerResponse, base: string, mayWrite: boolean) {
    const { operation, ref, objects } = (await json(request)) as Batch
    asked.push({ operation, ref: ref?.name ?? null })
    if (operation === 'upload' && !mayWrite) return refuse(response, 403, 'You may not write here.')
    const at = (oid: string) => `${url()}${base}/lfs-object/${oid}`
    const answers = objects.map(({ oid, size }) => {
      const has = files.has(oid)
      if (operation === 'download')
        return has
          ? { oid, size, actions: { download: { href: at(oid) } } }
          : { oid, size, error: { code: 404, message: 'not there' } }
      // GitLab says how the body is to be sent.
      const header = { 'x-ticket': TICKET, 'Transfer-Encoding': 'chunked' }
      const upload = { href: at(oid), header, expires_in: 600 }
      return { oid, size, ...(!has && { actions: { upload, verify: { href: `${at(oid)}/verify` } } }) }
    })
    response.setHeader('content-type', TYPE)
    response.end(JSON.stringify({ transfer: 'basic', objects: answers }))
  }

  async function object(request: IncomingMessage, response: ServerResponse, oid: string, mayWrite: boolean) {
    if (request.method !== 'PUT') {
      const content = files.get(oid)
      const location = moved.get(oid)
      if (location !== undefined) return response.writeHead(302, { location }).end()
      return content === undefined ? refuse(response, 404, 'not there') : response.end(content)
    }
    if (!mayWrite || request.headers['x-ticket'] !== TICKET) return refuse(response, 403, 'You may not write here.')
    const content = await buffer(request)
    if (idOf(content) !== oid) return refuse(response, 422, 'It is another file.')
    files.set(oid, content)
    return response.end()
  }

  async function verify(request: IncomingMessage, response: ServerResponse) {
    const { oid, size } = (await json(request)) as { oid: string; size: number }
    return files.get(oid)?.length === size ? response.end() : refuse(response, 404, 'not there')
  }

  return {
    files,
    moved,
    asked,
    keep(content) {
      const oid = idOf(content)
      files.set(oid, Buffer.from(content))
      return `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${Buffer.byteLength(content)}\n`
    },
    serve(request, response, mayWrite) {
      const [path = ''] = (request.url ?? '').split('?')
      const [, base] = /^(.*)\/info\/lfs\/objects\/batch$/.exec(path) ?? []
      if (base !== undefined) {
        void batch(request, response, base, mayWrite)
        return true
      }
      const [, oid, isVerify] = /\/lfs-object\/([0-9a-f]{64})(\/verify)?$/.exec(path) ?? []
      if (oid === undefined) return false
      void (isVerify === undefined ? object(request, response, oid, mayWrite) : verify(request, response))
      return true
    },
  }
}
