// What hosts are told of the git broker, and given to reach it with. Every route is safe to repeat.
import type { BrokeredRepository } from '../../domain/host-api.ts'
import { type Repository, withoutCredentials } from '../../domain/run.ts'
import { matchRepositories } from '../../secrets/git/matching.ts'
import { tokenServers } from '../../secrets/git/settings.ts'
import { listGitCredentials } from '../../store/git/credentials.ts'
import { ownerOfRun } from '../../store/git/tokens.ts'
import type { ApiDeps } from '../deps.ts'

type Deps = Pick<ApiDeps, 'db' | 'config' | 'log'>

/** Which of the repositories the broker gets at, by what a team and a person have stored and by the settings. */
export async function brokered(
  { db, config, log }: Deps,
  { team, person }: { team: string; person: string | null },
  repositories: readonly Repository[],
): Promise<BrokeredRepository[]> {
  if (repositories.length === 0) return []
  const servers = tokenServers(config).catch((error: unknown) => {
    // The run does what it can without them.
    log.warn({ err: error }, 'the tokens of the settings cannot be read')
    return []
  })
  const stored = await listGitCredentials(db, team, person)
  return matchRepositories(repositories, stored, await servers).map(({ repository, place, by }) => ({
    url: withoutCredentials(repository.url),
    place,
    by: by.kind,
  }))
}

/** {@link brokered}, for a run. */
export async function brokeredForRun(deps: Deps, runId: string, repositories: readonly Repository[]) {
  if (repositories.length === 0) return []
  const owner = await ownerOfRun(deps.db, runId)
  return owner === null ? [] : await brokered(deps, owner, repositories)
}
