// What the git broker gets at repositories with.
import { GitCredentialConfig, GitCredentialItem, GitCredentials } from '../../domain/git/credential.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt, updatedAt } from './examples.ts'

const body = { name: 'Our organisation', url: 'https://github.com/you', token: 'github_pat_…' }

const item = {
  uid: 'Gc3vQ8mTn1bXw5rLc7Hy2d',
  name: body.name,
  url: body.url,
  type: 'token',
  username: null,
  github_app: null,
  access: 'write',
  forge: null,
  scope: { type: 'Team', uid: 'default' },
  last_used_at: updatedAt,
  created_by: { type: 'operator', uid: 'operator' },
  created_at: createdAt,
  updated_at: createdAt,
}

export const gitCredentials: Section = {
  name: 'Git credentials',
  description:
    'What the git broker gets at repositories with: runs clone, fetch and push through it, and never have the token.',
  routes: [
    {
      method: 'get',
      path: '/agent/git-credentials',
      id: 'listGitCredentials',
      summary: 'List git credentials',
      description: 'Those of the team, and one’s own.',
      answers: { 200: json(GitCredentials, { git_credentials: [item] }) },
    },
    {
      method: 'post',
      path: '/agent/git-credentials',
      id: 'createGitCredential',
      summary: 'Store a git credential',
      description: 'A token, or a GitHub App. It is sealed, and never shown again.',
      body: { schema: GitCredentialConfig, example: body },
      idempotent: true,
      answers: { 201: json(GitCredentialItem, item) },
      errors: {
        409: 'The team has as many as it may.',
        422: 'It is to be a person’s own, and no person asks; or the Idempotency-Key was used for a request with another body.',
      },
    },
    {
      method: 'get',
      path: '/agent/git-credentials/{uid}',
      id: 'getGitCredential',
      summary: 'Read a git credential',
      answers: { 200: json(GitCredentialItem, item) },
    },
    {
      method: 'put',
      path: '/agent/git-credentials/{uid}',
      id: 'replaceGitCredential',
      summary: 'Replace a git credential',
      description:
        'Without a token or key, the one that there is stays; it has to be given again where `url` or `api_url` name another server. Runs at work use the new one from their next request on.',
      body: { schema: GitCredentialConfig, example: body },
      answers: { 200: json(GitCredentialItem, item) },
    },
    {
      method: 'delete',
      path: '/agent/git-credentials/{uid}',
      id: 'deleteGitCredential',
      summary: 'Delete a git credential',
      answers: { 204: nothing('It is gone. Runs at work cannot use it any more.') },
    },
  ],
}
