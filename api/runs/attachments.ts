// Files that come with a message: checked, and kept before the message is written.
import { imageTypes } from '../../domain/artifact.ts'
import { ATTACHMENTS } from '../../domain/limits.ts'
import type { StartRun } from '../../domain/run.ts'
import type { NewAttachment } from '../../store/runs/attachments.ts'
import { keepContent } from '../contents.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid } from '../errors.ts'

const MIB = 1024 * 1024

/**
 * Stores what came with a message. Of a message that is refused afterwards, or
 * was sent twice, nothing stays: what nothing names is removed after a day.
 */
export async function keepAttachments(
  deps: Pick<ApiDeps, 'db' | 'objects' | 'config'>,
  { attachments, images }: Pick<StartRun, 'attachments' | 'images'>,
): Promise<NewAttachment[]> {
  const files = [
    ...(attachments ?? []).map((file, index) => ({ ...file, field: `attachments.${index}` })),
    ...(images ?? []).map((image, index) => ({
      ...image,
      file_name: `image-${index + 1}.${/\/(\w+)/.exec(image.mime_type)?.[1] ?? 'bin'}`,
      field: `images.${index}`,
    })),
  ]
  if (files.length === 0) return []
  if (files.length > ATTACHMENTS) throw invalid(`attachments: more than ${ATTACHMENTS}, with images`)
  const names = new Set<string>()
  const most = deps.config.AMBIENT_ATTACHMENT_MB
  const decoded = files.map(({ field, file_name: fileName, mime_type: mimeType, data }) => {
    const content = Buffer.from(data, 'base64')
    if (content.length > most * MIB)
      throw invalid(`${field}: is larger than ${most} MiB, which is the most (AMBIENT_ATTACHMENT_MB)`)
    if (field.startsWith('images') && !imageTypes.includes(mimeType))
      throw invalid(`${field}.mime_type: must be one of ${imageTypes.join(', ')}`)
    if (names.has(fileName)) throw invalid(`${field}.file_name: there are two files ${fileName}`)
    names.add(fileName)
    return { fileName, mimeType, content }
  })
  return await Promise.all(
    decoded.map(async ({ content, ...file }) => ({ ...file, contentUid: await keepContent(deps, content) })),
  )
}
