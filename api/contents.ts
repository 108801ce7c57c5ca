// The contents of artifacts and attachments: into the object store, and out of it by links that need no key.
import { pipeline } from 'node:stream/promises'
import { type Request, type Response, Router } from 'express'
import type { ServedAs } from '../objects/object-store.ts'
import { noteContent } from '../store/runs/contents.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, notFound } from './errors.ts'
import { absolute, isSigned, LINKS, signLink } from './links.ts'
import { onlyMethods, queryOf } from './parse.ts'

/** Stores a content and answers with its uid; what nothing names afterwards is removed after a day. */
export async function keepContent(deps: Pick<ApiDeps, 'db' | 'objects'>, content: Uint8Array): Promise<string> {
  const uid = await noteContent(deps.db, content)
  await deps.objects.put(uid, content)
  return uid
}

export interface ContentLink {
  url: string
  expiresAt: Date
}

/** Where anybody may fetch a content under this name, until a time. */
export async function contentLink(
  { objects, keys, config }: Pick<ApiDeps, 'objects' | 'keys' | 'config'>,
  request: Request,
  content: { uid: string; fileName: string; mimeType: string },
): Promise<ContentLink> {
  const seconds = config.AMBIENT_LINK_MINUTES * 60
  const expiresAt = new Date((Math.floor(Date.now() / 1000) + seconds) * 1000)
  const elsewhere = await objects.link(content.uid, servedAs(content.fileName, content.mimeType), seconds)
  if (elsewhere !== null) return { url: elsewhere, expiresAt }
  const name = encodeURIComponent(content.fileName)
  const link = signLink(keys.links, `/contents/${content.uid}/${encodeURIComponent(content.mimeType)}/${name}`, seconds)
  return { url: absolute(config, request, link.path), expiresAt: link.expiresAt }
}

/** Served before any key is asked for. */
export function linkRoutes(deps: ApiDeps): Router {
  const router = Router()
  router
    .route('/contents/:uid/:mimeType/:fileName')
    .get(async (request, response) => {
      const path = request.originalUrl.slice(LINKS.length).split('?', 1)[0] ?? ''
      if (!isSigned(deps.keys.links, path, queryOf(request)))
        throw new HttpError(403, 'not_authorized', 'This link is not valid, or not any more. Ask for a new one.')
      const { uid, mimeType, fileName } = request.params
      await sendContent(deps, response, uid, servedAs(fileName, mimeType))
    })
    .all(onlyMethods('GET'))
  return router
}

/** @throws {HttpError} 404 where the object store has it no more. */
export async function sendContent(
  { objects }: Pick<ApiDeps, 'objects'>,
  response: Response,
  uid: string,
  { contentType, disposition }: ServedAs,
): Promise<void> {
  const content = await objects.get(uid)
  if (content === null) throw notFound('The content is not kept any more.')
  for (const [name, value] of Object.entries({
    'content-type': contentType,
    'content-disposition': disposition,
    // Whatever it is, it is no page of ours.
    'content-security-policy': "sandbox; default-src 'none'",
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'cross-origin',
    'referrer-policy': 'no-referrer',
    'cache-control': 'private, no-store',
  }))
    response.setHeader(name, value)
  await pipeline(content, response).catch((error: unknown) => {
    // Whoever asked has gone away.
    if (error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE') return
    throw error
  })
}

/** Types that a browser would run something in, wherever it is shown. */
const active = /html|xml|svg|javascript|ecmascript|x-shockwave|pdf/i

function servedAs(fileName: string, mimeType: string): ServedAs {
  const contentType =
    /^[\w.+-]+\/[\w.+-]+$/.test(mimeType) && !active.test(mimeType) ? mimeType : 'application/octet-stream'
  const plain = fileName.replaceAll(/[^\w .()-]/g, '_')
  return { contentType, disposition: `attachment; filename="${plain}"; filename*=UTF-8''${encoded(fileName)}` }
}

/** RFC 8187: `encodeURIComponent` leaves some out that have a meaning there. */
const encoded = (text: string) =>
  encodeURIComponent(text.toWellFormed()).replaceAll(/['()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16)}`)
