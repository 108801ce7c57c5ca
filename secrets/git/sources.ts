// The real credentials of repositories, opened at the last moment.

import { gitSecretContext } from '../../domain/git/credential.ts'
import type { ForgeName } from '../../domain/git/forge-name.ts'
import { type GitPlace, gitScope, isWithin } from '../../domain/git/url.ts'
import type { Repository } from '../../domain/run.ts'
import { type Vault, VaultError } from '../../domain/vault/vault.ts'
import type { Queryable } from '../../store/database.ts'
import { listGitCredentials, noteGitCredentialUse, type StoredGitCredential } from '../../store/git/credentials.ts'
import { openEnvironment } from '../vault/inline.ts'
import { createGitHubApps, type GitHubApp, githubApi } from './github-app.ts'
import { type GitMatch, matchRepositories } from './matching.ts'
import { tokenServers } from './settings.ts'
import { type Upstream, UpstreamError } from './upstream.ts'

/** Whose credentials count. */
export interface GitOwner {
  team: string
  person: string | null
}

export interface GitLogin {
  username: string
  password: string
}

/** As a header. */
export const authorization = ({ username, password }: GitLogin): string[] => [
  'authorization',
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
]

export interface GitSources {
  /** Of the repositories those that have a credential, each with it. @throws {UpstreamError} */
  match(owner: GitOwner, repositories: readonly Repository[]): Promise<GitMatch[]>
  /** What the server of the repository is shown. @throws {UpstreamError} */
  open(match: GitMatch): Promise<GitLogin>
  /** Whether a credential is for another place of its server as well: where a repository has moved to. */
  covers(match: GitMatch, place: GitPlace): boolean
  /** The server did not take it. */
  refused(login: GitLogin): void
}

export function createGitSources(options: {
  db: Queryable
  vault: Vault
  upstream: Upstream
  config: Parameters<typeof tokenServers>[0]
  now?: () => number
}): GitSources {
  const { db, vault, upstream, config } = options
  const apps = createGitHubApps(upstream, options.now)

  async function open({ by, place, forge, repository }: GitMatch): Promise<GitLogin> {
    switch (by.kind) {
      case 'url':
        return loginIn(opened(vault, repository))
      case 'settings':
        return { username: defaultUser(by.server.forge), password: by.server.token }
      case 'stored': {
        const { credential } = by
        const secret = opening(() => vault.open(credential.secret, gitSecretContext(credential.id)))
        const login =
          credential.type === 'token'
            ? { username: credential.username ?? defaultUser(forge), password: secret }
            : { username: defaultUser('github'), password: await apps.token(appOf(credential, secret, place), place) }
        await noteGitCredentialUse(db, credential.id)
        return login
      }
    }
  }

  return {
    async match({ team, person }, repositories) {
      if (repositories.length === 0) return []
      const [stored, servers] = await Promise.all([listGitCredentials(db, team, person), tokenServers(config)])
      return matchRepositories(repositories, stored, servers)
    },
    open,
    covers({ by, place: own }, place) {
      const url = by.kind === 'stored' ? by.credential.url : by.kind === 'settings' ? by.server.address : null
      const scope = url === null ? own : gitScope(url)
      return scope !== null && isWithin(scope, place)
    },
    refused: ({ password }) => apps.forget(password),
  }
}

/** GitLab takes any name with some tokens, and this one with all of them. */
const defaultUser = (forge: ForgeName | null): string => (forge === 'gitlab' ? 'oauth2' : 'x-access-token')

const appOf = (credential: StoredGitCredential, privateKey: string, place: GitPlace): GitHubApp => ({
  key: `${credential.id} ${credential.revision}`,
  appId: credential.app_id ?? '',
  privateKey,
  apiUrl: credential.api_url ?? githubApi(place),
  access: credential.access,
})

function opened(vault: Vault, repository: Repository): string {
  const environment = { repos: [repository], setup_commands: [], env: {} }
  return opening(() => openEnvironment(vault, environment)).repos[0]?.url ?? repository.url
}

function opening<T>(open: () => T): T {
  try {
    return open()
  } catch (error) {
    if (error instanceof VaultError)
      throw new UpstreamError(`The credential cannot be opened. ${error.message}`, { cause: error })
    throw error
  }
}

function loginIn(url: string): GitLogin {
  const [, username = '', password = ''] = /^https?:\/\/([^/?#:]*)(?::([^/?#]*))?@[^/?#@]+/.exec(url) ?? []
  return { username: decoded(username), password: decoded(password) }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // Not percent-encoded, then: as it stands.
  }
}
