// Artifacts of runs, as the command line asks for them.
import type { Artifact } from '../../domain/artifact.ts'
import type { Requests } from './requests.ts'

export interface ArtifactsApi {
  get(uid: string): Promise<Artifact>
  /** Its content, from where it is stored. */
  download(uid: string): Promise<Buffer>
}

/** A large file takes its time. */
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000

export const createArtifactsApi = (base: string, { steady, json }: Requests): ArtifactsApi => ({
  get: (uid) => json(steady(`${base}/${encodeURIComponent(uid)}`)),
  // The redirect leads to an address that needs no key, which is then left out for another origin.
  download: async (uid) => {
    const answer = await steady(`${base}/${encodeURIComponent(uid)}/download`, () => ({
      signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS),
    }))
    return Buffer.from(await answer.arrayBuffer())
  },
})
