// From where a token for the git broker may be used: the sandbox that it was given to.
import type http from 'node:http'
import type { Queryable } from '../../store/database.ts'
import { claimGitToken, type GitGrant } from '../../store/git/tokens.ts'
import { bindingOf, claimCredential } from '../../store/runs/credentials.ts'
import { placeOf } from '../gateway/binding.ts'

/**
 * The token says it from the time at which it is given out; the run's own
 * credential may know it more exactly later, once its agent is there.
 */
export async function mayUseGit(db: Queryable, grant: GitGrant, request: http.IncomingMessage): Promise<boolean> {
  const { of, forHost, binding, tokenHash } = grant
  if (forHost || !('run' in of)) return true
  const ref = { runId: of.run, execution: of.execution }
  const run = await bindingOf(db, ref)
  // Before the token's own word: from elsewhere it is not to be bound to that place.
  const isPlaced = run !== null && run.kind !== 'nowhere'
  if (isPlaced && (await placeOf(run, request, (address) => claimCredential(db, ref, address))) !== 'inside')
    return false
  return (await placeOf(binding, request, (address) => claimGitToken(db, tokenHash, address))) === 'inside'
}
