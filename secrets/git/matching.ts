// Which credential is for which repository of a run: found without opening any.
import type { ForgeName } from '../../domain/git/forge-name.ts'
import { type GitPlace, gitPlace, gitScope, placeWithin } from '../../domain/git/url.ts'
import { type Repository, withoutCredentials } from '../../domain/run.ts'
import type { StoredGitCredential } from '../../store/git/credentials.ts'
import type { TokenServer } from './settings.ts'

/** Where a repository's credential comes from: the request's URL, what is stored, or the server's settings. */
export type MatchedBy =
  | { kind: 'url' }
  | { kind: 'stored'; credential: StoredGitCredential }
  | { kind: 'settings'; server: TokenServer }

/** A repository of a run that the broker can get at. */
export interface GitMatch {
  repository: Repository
  /** Over HTTP, whatever the repository's URL is. */
  place: GitPlace
  by: MatchedBy
  access: 'read' | 'write'
  /** Null: not known. */
  forge: ForgeName | null
}

/**
 * For each repository that has one, the credential that counts: that of its URL;
 * else of those stored for the most exact path, the person's before the team's;
 * else that of the settings.
 */
export function matchRepositories(
  repositories: readonly Repository[],
  stored: readonly StoredGitCredential[],
  servers: readonly TokenServer[],
): GitMatch[] {
  const credentials = stored
    .flatMap((credential) => {
      const scope = gitScope(credential.url)
      return scope === null ? [] : [{ credential, scope }]
    })
    .sort(
      (one, other) =>
        other.scope.path.length - one.scope.path.length ||
        Number(other.credential.person !== null) - Number(one.credential.person !== null),
    )
  const settings = servers
    .flatMap((server) => {
      const scope = gitScope(server.address)
      return scope === null ? [] : [{ server, scope }]
    })
    .sort((one, other) => other.scope.path.length - one.scope.path.length)

  return repositories.flatMap((repository): GitMatch[] => {
    const url = withoutCredentials(repository.url)
    const own = url === repository.url ? null : gitPlace(url)
    if (own !== null) return [{ repository, place: own, by: { kind: 'url' }, access: 'write', forge: homeOf(own.host) }]
    for (const { credential, scope } of credentials) {
      const place = placeWithin(scope, url)
      if (place !== null) return [ofStored(repository, place, credential)]
    }
    for (const { server, scope } of settings) {
      const place = placeWithin(scope, url)
      if (place !== null)
        return [{ repository, place, by: { kind: 'settings', server }, access: 'write', forge: server.forge }]
    }
    return []
  })
}

const ofStored = (repository: Repository, place: GitPlace, credential: StoredGitCredential): GitMatch => ({
  repository,
  place,
  by: { kind: 'stored', credential },
  access: credential.access,
  forge: credential.forge ?? (credential.type === 'github_app' ? 'github' : homeOf(place.host)),
})

const homeOf = (host: string): ForgeName | null =>
  host === 'github.com' ? 'github' : host === 'gitlab.com' ? 'gitlab' : null
