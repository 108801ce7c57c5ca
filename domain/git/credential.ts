// What the git broker gets at repositories with: tokens and GitHub Apps of a team, or of one of its people.
import { z } from 'zod'
import { Ownership, Uid } from '../account.ts'
import { gitScope } from './url.ts'

const line = (max: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(max)
    .refine((value) => !/\p{Cc}/u.test(value), { error: 'must not have control characters' })

const ScopeUrl = z
  .string()
  .trim()
  .max(2048)
  .refine((text) => gitScope(text) !== null && !URL.parse(text)?.search && !URL.parse(text)?.hash, {
    error: 'must be a URL such as https://github.com, https://github.com/owner or https://github.com/owner/repository',
  })
  .refine((text) => !URL.parse(text)?.username && !URL.parse(text)?.password, {
    error: 'must have no user name and password: they are fields of their own',
  })

export const gitCredentialTypes = ['token', 'github_app'] as const

export const GitHubApp = z
  .object({
    app_id: z
      .string()
      .regex(/^[\w.-]{1,100}$/, 'must be the id of the app, or its client id')
      .describe('Of the app, as its settings show it.'),
    private_key: z
      .string()
      .max(16 * 1024)
      .optional()
      .describe('PEM, as GitHub gives it. It is not shown again. In a `PUT`, absent: the one that there is.'),
    api_url: z
      .url({ protocol: /^https?$/ })
      .max(2048)
      .optional()
      .describe('Address of the API. Absent: that of github.com, or `/api/v3` of the server in `url`.'),
  })
  .meta({ id: 'GitHubAppCredential' })

/** Body of `POST /agent/git-credentials`, and of `PUT`, which replaces everything but a secret that it does not name. */
export const GitCredentialConfig = z
  .object({
    name: line(200),
    url: ScopeUrl.describe(
      'For which repositories: those of a server, or below a path of it, or one. Of several credentials the longest path counts; of two equal ones that of the person.',
    ),
    type: z.enum(gitCredentialTypes).default('token'),
    token: line(8192)
      .optional()
      .describe('For `token`. It is not shown again. In a `PUT`, absent: the one that there is.'),
    username: line(200)
      .refine((value) => !value.includes(':'), { error: 'must not have a colon' })
      .optional()
      .describe('Sent with the token. Absent: `oauth2` on GitLab, else `x-access-token`.'),
    github_app: GitHubApp.optional().describe(
      'For `github_app`. The installation is found by the owner of each repository; its tokens are for that repository alone.',
    ),
    access: z.enum(['read', 'write']).default('write').describe('`read`: nothing is pushed with it.'),
    forge: z
      .enum(['github', 'gitlab'])
      .nullish()
      .describe('By whose API it opens pull requests. Absent: by the name of the server, where that tells it.'),
    personal: z
      .boolean()
      .default(false)
      .describe('True: only for runs of the person who stores it, and seen by nobody else. It cannot be changed.'),
  })
  .superRefine((config, context) => {
    const wrong = config.type === 'token' ? 'github_app' : 'token'
    if (config[wrong] !== undefined)
      context.addIssue({ code: 'custom', path: [wrong], message: `has no meaning for the type ${config.type}` })
    if (config.type === 'github_app' && config.github_app === undefined)
      context.addIssue({ code: 'custom', path: ['github_app'], message: 'is missing' })
    if (config.type === 'github_app' && config.forge === 'gitlab')
      context.addIssue({ code: 'custom', path: ['forge'], message: 'must be github for a GitHub App' })
  })
  .meta({ id: 'GitCredentialConfig' })
export type GitCredentialConfig = z.infer<typeof GitCredentialConfig>

/** A credential as it is served: never with its token or key. */
export const GitCredentialItem = z
  .object({
    uid: Uid,
    name: z.string(),
    url: z.string(),
    type: z.enum(gitCredentialTypes),
    username: z.string().nullable(),
    github_app: z.object({ app_id: z.string(), api_url: z.string().nullable() }).nullable(),
    access: z.enum(['read', 'write']),
    forge: z.enum(['github', 'gitlab']).nullable(),
    scope: Ownership.describe('`User`: only for runs of that person.'),
    last_used_at: z.iso.datetime().nullable().describe('To the minute.'),
    created_by: z.object({ type: z.string(), uid: z.string() }),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: 'GitCredentialItem' })
export type GitCredentialItem = z.infer<typeof GitCredentialItem>

export const GitCredentials = z.object({ git_credentials: z.array(GitCredentialItem) }).meta({ id: 'GitCredentials' })
export type GitCredentials = z.infer<typeof GitCredentials>

/** The context that a credential's secret is sealed under. */
export const gitSecretContext = (uid: string): string => `git-credential:${uid}`
