// Runs on orchestrator workers. What opens pull requests where a team or a person has stored a credential for the repository.
import type { FindStored, StoredAccess } from '../forges/access.ts'
import { ForgeError } from '../forges/forge.ts'
import type { GitSources } from '../secrets/git/sources.ts'
import { UpstreamError } from '../secrets/git/upstream.ts'
import type { Queryable } from '../store/database.ts'
import { ownerOfRun } from '../store/git/tokens.ts'

/** Null for repositories whose forge is not known; what is in their URLs and in the settings is not looked at here. */
export const storedForgeAccess =
  (db: Queryable, sources: GitSources): FindStored =>
  async (runId, url) => {
    const owner = await ownerOfRun(db, runId)
    if (owner === null) return null
    try {
      const [match] = await sources.match(owner, [{ url }])
      if (match === undefined || match.by.kind !== 'stored' || match.forge === null) return null
      const { place, forge, by } = match
      const { password: token } = await sources.open(match)
      const api = by.credential.api_url
      return { forge, api, server: `${place.scheme}://${place.host}`, path: place.path, token } satisfies StoredAccess
    } catch (error) {
      // It may be installed, or put right, a moment later: until then it is tried again.
      if (error instanceof UpstreamError) throw new ForgeError('unavailable', error.message, null, { cause: error })
      throw error
    }
  }
