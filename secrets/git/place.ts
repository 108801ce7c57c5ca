// From where a token for the git broker may be used: the sandbox that it was given to.
import type http from 'node:http'
import type { Queryable } from '../../store/database.ts'
import { claimGitToken, type GitGrant } from '../../store/git/tokens.ts'
import { bindingOf } from '../../store/runs/credentials.ts'
import { placeOf } from '../gateway/binding.ts'

/**
 * The token says it from the time at which it is given out; the run's own
 * credential may know it more exactly later, once its agent is there.
 */
export async function mayUseGit(db: Queryable, grant: GitGrant, request: http.IncomingMessage): Promise<boolean> {
  const { of, forHost, binding, tokenHash } = grant
  if (forHost || !('run' in of)) return true
  const place = await placeOf(binding, request, (address) => claimGitToken(db, tokenHash, address))
  if (place !== 'inside') return false
  const run = await bindingOf(db, { runId: of.run, execution: of.execution })
  if (run === null || run.kind === 'nowhere' || run.kind === 'first') return true
  return (await placeOf(run, request, async (address) => address)) === 'inside'
}
