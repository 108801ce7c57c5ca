// What an artifact of a run is, in few words.
import type { RunArtifact } from '../../domain/artifact.ts'
import { clean } from './text.ts'

/** Null: a link, which has no content of its own. */
export const artifactUid = ({ data }: RunArtifact): string | null =>
  'artifact_uid' in data && typeof data.artifact_uid === 'string' ? data.artifact_uid : null

export function artifactLabel({ artifact_type: type, data }: RunArtifact): string {
  const fields = data as Readonly<Record<string, unknown>>
  const [label] = ['title', 'filepath', 'filename', 'description', 'url', 'branch'].flatMap((name) => {
    const value = fields[name]
    return typeof value === 'string' && value !== '' ? [value] : []
  })
  return clean(label ?? type.toLowerCase())
}
