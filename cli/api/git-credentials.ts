// Git credentials, as the command line asks for them.
import type { GitCredentialItem } from '../../domain/git/credential.ts'
import type { Requests } from './requests.ts'

export interface GitCredentialsApi {
  list(): Promise<GitCredentialItem[]>
  create(config: object): Promise<GitCredentialItem>
  /** Everything but a token or key that it does not name. */
  replace(uid: string, config: object): Promise<GitCredentialItem>
  remove(uid: string): Promise<void>
}

export function createGitCredentialsApi(
  base: string,
  { steady, post, put, remove, json }: Requests,
): GitCredentialsApi {
  return {
    list: async () => (await json<{ git_credentials: GitCredentialItem[] }>(steady(base))).git_credentials,
    create: (config) => json(post(base, config)),
    replace: (uid, config) => put(`${base}/${uid}`, config),
    remove: (uid) => remove(`${base}/${uid}`),
  }
}
