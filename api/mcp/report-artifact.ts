import { basename } from 'node:path/posix'
import type { z } from 'zod'
import type { ArtifactType } from '../../domain/artifact.ts'
import type { ReportArtifact } from '../../domain/tools.ts'
import type { CredentialHolder } from '../../secrets/gateway/credential.ts'
import { countArtifacts, reportArtifact as insertReport, type NewArtifact } from '../../store/runs/artifacts.ts'
import { keepContent } from '../contents.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid } from '../errors.ts'
import { onceForRun, wouldBeDone } from './once.ts'

type Report = z.infer<typeof ReportArtifact>

const MIB = 1024 * 1024

/** Takes over what an agent hands over. A file of its workspace is noted, and fetched by its host when the turn ends. */
export async function reportArtifact(deps: ApiDeps, holder: CredentialHolder, args: Report): Promise<string> {
  const type = args.type.toUpperCase() as ArtifactType
  refuseMisplaced(args)
  const bytes = contentOf(deps, args)
  const most = deps.config.AMBIENT_ARTIFACTS
  const isFull = (await countArtifacts(deps.db, holder.runId)) >= most
  // What is refused, or was taken before, is not stored: an agent that goes round in circles is not to fill the disk.
  const isStored = bytes !== null && !isFull && (await wouldBeDone(deps.db, holder, 'report_artifact', args))
  // Before the run's lock is taken, which is not held for what may be large. What another call was faster with is dropped after a day.
  const contentUid = isStored ? await keepContent(deps, bytes) : null
  return await onceForRun(deps.db, holder, 'report_artifact', args, async ({ tx, run, key, tell }) => {
    if (isFull || (await countArtifacts(tx, run.id)) >= most)
      throw new HttpError(
        429,
        'resource_unavailable',
        `This run has handed over ${most} artifacts, which is the most (AMBIENT_ARTIFACTS). Put several files into one archive, or commit them.`,
      )
    // A message has come in this moment, for which it is said anew, or has begun the run again.
    if (bytes !== null && contentUid === null)
      throw new HttpError(503, 'resource_unavailable', 'Another message has come in between. Call again.')
    const artifact: NewArtifact = {
      type,
      // Known by its address: the run may open it by itself, too.
      key: type === 'PULL_REQUEST' ? `pull request ${args.url}` : key,
      data: dataOf(args, bytes?.length ?? null),
      contentUid,
      wantedPath: bytes === null ? (args.path ?? null) : null,
    }
    const uid = await insertReport(tx, run, artifact)
    await tell('artifact', { artifact_uid: uid, artifact_type: type, ...shown(artifact.data) })
    return artifact.wantedPath === null
      ? `Handed over as ${uid}.`
      : `Noted as ${uid}. ${artifact.wantedPath} is fetched when your turn ends: leave it where it is.`
  })
}

/** What each type needs, and what it has nothing to do with. */
function refuseMisplaced(args: Report): void {
  const isLink = args.type === 'pull_request' || args.type === 'external_reference'
  const given = (['path', 'content', 'content_base64'] as const).filter((name) => args[name] !== undefined)
  if (isLink) {
    if (args.url === undefined) throw invalid('url: is needed')
    if (given.length > 0) throw invalid(`${given[0]}: a ${args.type} has only a url`)
    if (args.type === 'pull_request' && args.branch === undefined) throw invalid('branch: is needed')
    if (args.type === 'external_reference' && args.reference_type === undefined)
      throw invalid('reference_type: is needed')
    return
  }
  if (given.length !== 1) throw invalid('path, content or content_base64: exactly one is needed')
  if (args.type === 'screenshot' && args.content !== undefined)
    throw invalid('content: a screenshot is no text; use path')
  if (args.type === 'file' && args.path === undefined && args.file_name === undefined)
    throw invalid('file_name: is needed, since there is no path')
}

function contentOf({ config }: ApiDeps, { content, content_base64: encoded }: Report): Buffer | null {
  const bytes =
    content !== undefined ? Buffer.from(content) : encoded !== undefined ? Buffer.from(encoded, 'base64') : null
  const most = config.AMBIENT_ARTIFACT_MB
  if (bytes !== null && bytes.length > most * MIB)
    throw invalid(
      `It is larger than ${most} MiB, which is the most (AMBIENT_ARTIFACT_MB). Hand over a smaller part of it.`,
    )
  return bytes
}

function dataOf(args: Report, size: number | null): Record<string, unknown> {
  const { title, description, url, path } = args
  const titled = { ...(title === undefined ? {} : { title }) }
  const described = { ...(description === undefined ? {} : { description }) }
  switch (args.type) {
    case 'plan':
      return titled
    case 'screenshot':
      return { mime_type: args.mime_type ?? mimeTypeOf(path ?? '.png'), ...described }
    case 'file': {
      const filename = args.file_name ?? (basename(path ?? '') || 'file')
      return {
        filename,
        filepath: path ?? filename,
        mime_type: args.mime_type ?? mimeTypeOf(filename),
        ...titled,
        ...described,
        ...(size === null ? {} : { size_bytes: size }),
      }
    }
    case 'pull_request':
      return { url, branch: args.branch }
    case 'external_reference':
      return { reference_type: args.reference_type, url, ...titled }
  }
}

/** What readers of the transcript need to name it. */
const shown = (data: Record<string, unknown>) =>
  Object.fromEntries(
    ['title', 'filename', 'url', 'branch', 'description'].flatMap((name) =>
      data[name] === undefined ? [] : [[name, data[name]]],
    ),
  )

const mimeTypes: Readonly<Record<string, string>> = {
  csv: 'text/csv',
  diff: 'text/x-diff',
  gif: 'image/gif',
  gz: 'application/gzip',
  html: 'text/html',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  json: 'application/json',
  log: 'text/plain',
  md: 'text/markdown',
  patch: 'text/x-diff',
  pdf: 'application/pdf',
  png: 'image/png',
  svg: 'image/svg+xml',
  txt: 'text/plain',
  webp: 'image/webp',
  yaml: 'application/yaml',
  yml: 'application/yaml',
  zip: 'application/zip',
}

const mimeTypeOf = (name: string): string =>
  mimeTypes[/\.(\w+)$/.exec(name)?.[1]?.toLowerCase() ?? ''] ?? 'application/octet-stream'
