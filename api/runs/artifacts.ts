// What runs have handed over beside their repositories.
import { text } from 'node:stream/consumers'
import { type Request, type Response, Router } from 'express'
import type { Artifact, HandoffAttachments } from '../../domain/artifact.ts'
import { findArtifact, handedOver, type StoredArtifact } from '../../store/runs/artifacts.ts'
import { type ContentLink, contentLink } from '../contents.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, notFound } from '../errors.ts'
import { onlyMethods } from '../parse.ts'
import { runById, runFor } from './run-access.ts'

export function artifactRoutes(deps: ApiDeps): Router {
  const router = Router()

  router
    .route('/artifacts/:uid')
    .get(async (request, response) => {
      const artifact = await artifactFor(request, response)
      response.json(await detailOf(deps, request, artifact))
    })
    .all(onlyMethods('GET'))

  router
    .route('/artifacts/:uid/download')
    .get(async (request, response) => {
      const { url } = await linkOf(deps, request, await artifactFor(request, response))
      response.set('cache-control', 'no-store').redirect(302, url)
    })
    .all(onlyMethods('GET'))

  router
    .route('/runs/:runId/handoff/attachments')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.view')
      const attachments = await Promise.all(
        (await handedOver(deps.db, id)).map(async (artifact) => ({
          attachment_id: artifact.uid,
          filename: fileOf(artifact).fileName,
          download_url: (await linkOf(deps, request, artifact)).url,
          mime_type: fileOf(artifact).mimeType,
        })),
      )
      response.json({ attachments } satisfies HandoffAttachments)
    })
    .all(onlyMethods('GET'))

  /** Who may see the run, may see what it has handed over; for all others there is no such thing. */
  async function artifactFor(request: Request, response: Response): Promise<StoredArtifact> {
    const uid = String(request.params.uid)
    const artifact = await findArtifact(deps.db, uid)
    const run = artifact && (await runById(deps.db, response, artifact.run_id, 'runs.view').catch(hidden))
    if (!artifact || !run) throw notFound(`There is no artifact ${uid}.`)
    return artifact
  }

  return router
}

/** A run that is not to be seen is not named. */
function hidden(error: unknown): null {
  if (error instanceof HttpError && error.status === 404) return null
  throw error
}

async function detailOf(deps: ApiDeps, request: Request, artifact: StoredArtifact): Promise<Artifact> {
  const { uid, type, data, created_at: createdAt } = artifact
  const common = { artifact_uid: uid, created_at: createdAt.toISOString() }
  const texts = (...names: string[]) =>
    Object.fromEntries(names.flatMap((name) => (typeof data[name] === 'string' ? [[name, data[name]]] : [])))
  switch (type) {
    case 'PLAN': {
      const stored = artifact.content_uid === null ? null : await deps.objects.get(artifact.content_uid)
      if (stored === null) throw notKept(artifact)
      const plan = { document_uid: uid, notebook_uid: uid, content: await text(stored), content_type: 'text/markdown' }
      return { ...common, artifact_type: type, data: { ...plan, ...texts('title', 'url') } }
    }
    case 'SCREENSHOT':
      return {
        ...common,
        artifact_type: type,
        data: { ...(await linkData(deps, request, artifact)), ...texts('description') },
      }
    case 'FILE': {
      const { fileName } = fileOf(artifact)
      const size = typeof data.size_bytes === 'number' ? { size_bytes: data.size_bytes } : {}
      const named = { filename: fileName, ...texts('filepath', 'title', 'description'), ...size }
      return { ...common, artifact_type: type, data: { ...(await linkData(deps, request, artifact)), ...named } }
    }
    case 'PULL_REQUEST':
    case 'EXTERNAL_REFERENCE':
      return { ...common, artifact_type: type, data } as Artifact
  }
}

async function linkData(deps: ApiDeps, request: Request, artifact: StoredArtifact) {
  const { url, expiresAt } = await linkOf(deps, request, artifact)
  return { download_url: url, expires_at: expiresAt.toISOString(), content_type: fileOf(artifact).mimeType }
}

async function linkOf(deps: ApiDeps, request: Request, artifact: StoredArtifact): Promise<ContentLink> {
  if (artifact.content_uid === null) throw notKept(artifact)
  return await contentLink(deps, request, { uid: artifact.content_uid, ...fileOf(artifact) })
}

function notKept({ uid, wanted_path: wanted, type }: StoredArtifact) {
  if (wanted !== null) return notFound(`The file of the artifact ${uid} is fetched when the agent's turn ends.`)
  const isLinkOnly = type === 'PULL_REQUEST' || type === 'EXTERNAL_REFERENCE'
  return notFound(
    isLinkOnly
      ? `The artifact ${uid} is a link: data.url.`
      : `The content of the artifact ${uid} is not kept any more.`,
  )
}

/** What it is called where it is saved. */
function fileOf({ uid, type, data }: StoredArtifact): { fileName: string; mimeType: string } {
  if (type === 'PLAN') return { fileName: `plan-${uid}.md`, mimeType: 'text/markdown' }
  const mimeType = typeof data.mime_type === 'string' ? data.mime_type : 'application/octet-stream'
  if (typeof data.filename === 'string') return { fileName: data.filename, mimeType }
  return { fileName: `screenshot-${uid}.${/^image\/([a-z]+)$/.exec(mimeType)?.[1] ?? 'bin'}`, mimeType }
}
