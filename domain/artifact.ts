// What a run hands over beside its repositories, and what people hand to it. Field names are Oz's where Oz has the field.
import { z } from 'zod'
import { ATTACHMENTS } from './limits.ts'

export const artifactTypes = ['PLAN', 'SCREENSHOT', 'FILE', 'PULL_REQUEST', 'EXTERNAL_REFERENCE'] as const
export type ArtifactType = (typeof artifactTypes)[number]

/** Of artifacts and attachments. */
export const Uid = z.string().regex(/^[A-Za-z0-9]{22}$/, 'must be 22 letters and digits')

export const webUrl = z.url({ protocol: /^https?$/, error: 'must be a URL with http:// or https://' }).max(2048)

const PlanData = z.object({
  document_uid: z.string(),
  artifact_uid: z.string().optional(),
  title: z.string().optional(),
  url: z.string().optional(),
})
const ScreenshotData = z.object({
  artifact_uid: z.string(),
  mime_type: z.string(),
  description: z.string().optional(),
})
const FileData = z.object({
  artifact_uid: z.string(),
  filename: z.string(),
  filepath: z.string(),
  mime_type: z.string(),
  description: z.string().optional(),
  title: z.string().optional(),
  size_bytes: z.number().int().min(0).optional().describe('Absent while the file is still to be fetched.'),
})
const PullRequestData = z.object({
  url: z.string(),
  branch: z.string(),
  status: z.string().optional(),
  artifact_uid: z.string().optional(),
})
const ExternalReferenceData = z.object({
  reference_type: z.string(),
  url: z.string(),
  title: z.string().optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  artifact_uid: z.string().optional(),
})

const listed = <T extends ArtifactType, D extends z.ZodType>(type: T, data: D) =>
  z.object({ artifact_type: z.literal(type), created_at: z.iso.datetime(), data })

/** One of `artifacts` of a run. */
export const RunArtifact = z
  .discriminatedUnion('artifact_type', [
    listed('PLAN', PlanData),
    listed('SCREENSHOT', ScreenshotData),
    listed('FILE', FileData),
    listed('PULL_REQUEST', PullRequestData),
    listed('EXTERNAL_REFERENCE', ExternalReferenceData),
  ])
  .meta({ id: 'RunArtifact' })
export type RunArtifact = z.infer<typeof RunArtifact>

const link = {
  download_url: z.string().describe('Needs no key, and ends with `expires_at`.'),
  expires_at: z.iso.datetime(),
  content_type: z.string(),
  description: z.string().optional(),
}

const detail = <T extends ArtifactType, D extends z.ZodType>(type: T, data: D) =>
  z.object({ artifact_uid: z.string(), artifact_type: z.literal(type), created_at: z.iso.datetime(), data })

/** `GET /agent/artifacts/{uid}` */
export const Artifact = z
  .discriminatedUnion('artifact_type', [
    detail(
      'PLAN',
      z.object({
        document_uid: z.string(),
        notebook_uid: z.string(),
        content: z.string(),
        content_type: z.string(),
        title: z.string().optional(),
        url: z.string().optional(),
      }),
    ),
    detail('SCREENSHOT', z.object(link)),
    detail(
      'FILE',
      z.object({
        ...link,
        filename: z.string(),
        filepath: z.string().optional(),
        title: z.string().optional(),
        size_bytes: z.number().int().min(0).optional(),
      }),
    ),
    detail('PULL_REQUEST', PullRequestData),
    detail('EXTERNAL_REFERENCE', ExternalReferenceData),
  ])
  .meta({ id: 'Artifact' })
export type Artifact = z.infer<typeof Artifact>

/** `GET /agent/runs/{runId}/handoff/attachments` */
export const HandoffAttachments = z
  .object({
    attachments: z
      .array(
        z.object({
          attachment_id: z.string(),
          filename: z.string(),
          download_url: z.string(),
          mime_type: z.string().optional(),
        }),
      )
      .describe('What the latest ended execution has handed over, with fresh links each time.'),
  })
  .meta({ id: 'HandoffAttachments' })
export type HandoffAttachments = z.infer<typeof HandoffAttachments>

const mimeType = z
  .string()
  .max(200)
  .regex(/^[\w.+-]+\/[\w.+-]+$/, 'must be a media type, such as image/png')

/** A name, never a path: it becomes a file beside the workspace. */
export const FileName = z
  .string()
  .min(1)
  .max(255)
  .refine((name) => new TextEncoder().encode(name).length <= 255, { error: 'longer than 255 bytes' })
  .refine((name) => !/[/\\\p{Cc}]/u.test(name) && name !== '.' && name !== '..', {
    error: 'must be the name of a file, without a path',
  })

const base64 = z.base64({ error: 'must be base64' }).min(1)

export const Attachment = z
  .object({ file_name: FileName, mime_type: mimeType, data: base64.describe('The content, in base64.') })
  .meta({ id: 'Attachment' })

/** As one of the official clients sends it. */
export const AttachedImage = z
  .object({ mime_type: mimeType, data: base64.describe('The content, in base64.') })
  .meta({ id: 'AttachedImage' })

/** For the body of whatever gives an agent a message. */
export const attachmentFields = {
  attachments: z
    .array(Attachment)
    .max(ATTACHMENTS)
    .nullish()
    .describe(
      'Files for the agent. It finds them in a directory that its prompt names, and sees pictures (JPEG, PNG, GIF, WebP) where its model can.',
    ),
  images: z.array(AttachedImage).max(ATTACHMENTS).nullish().describe('The same, for pictures without a name.'),
}

/** What agents of today take as pictures. */
export const imageTypes: readonly string[] = ['image/jpeg', 'image/png', 'image/gif', 'image/webp']
