// Pull requests of runs: what is asked for, what has become of it, and why one could not be opened.
import { z } from 'zod'
import { BranchName } from './branch.ts'

const text = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => !value.includes('\0'), { error: 'contains a NUL character' })

const oneLine = (max: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(max)
    .refine((value) => !/\p{Cc}/u.test(value), { error: 'must be one line' })

/** What a repository of an environment says of the pull request that its runs open. */
export const PullRequestAsk = z
  .object({
    draft: z.boolean().default(true).describe('False: ready for review at once.'),
    base: BranchName.optional().describe(
      'The branch to merge into. Absent: `ref` where that is a branch, else the default branch.',
    ),
    title: oneLine(200).optional().describe("Absent: the subject of the agent's first commit, else the run's title."),
    body: text(50_000)
      .optional()
      .describe("Absent: the subjects of the agent's commits. The run's link is added to either."),
    labels: z.array(oneLine(100)).max(20).optional(),
    reviewers: z
      .array(
        z
          .string()
          .max(200)
          .regex(/^[\w.-]+(\/[\w.-]+)?$/, 'must be the name of a user, or team/<name> for a team on GitHub'),
      )
      .max(20)
      .optional()
      .describe('Names of users; `team/<name>` is a team on GitHub.'),
  })
  .meta({ id: 'PullRequestAsk' })
export type PullRequestAsk = z.infer<typeof PullRequestAsk>

export const pullRequestStatuses = ['draft', 'open', 'merged', 'closed'] as const
export type PullRequestStatus = (typeof pullRequestStatuses)[number]

/** Why a pull request was not opened, whether it is tried again by itself, and what a person can do. */
export const forgeFailureCodes = {
  unknown_forge: {
    passing: false,
    nextStep:
      'Store a git credential for it that names its forge (`ambient git-credentials create … --forge github`), or have the operator name its server in AMBIENT_GITHUB_TOKEN or AMBIENT_GITLAB_TOKEN.',
  },
  no_token: {
    passing: false,
    nextStep:
      'Store a git credential for it (`ambient git-credentials create`), or have the operator set AMBIENT_GITHUB_TOKEN or AMBIENT_GITLAB_TOKEN.',
  },
  unauthorized: { passing: false, nextStep: 'Have the operator put a token in its place that is valid.' },
  forbidden: {
    passing: false,
    nextStep: 'Have the operator give the token the right to open pull requests (on GitLab: the scope `api`).',
  },
  not_found: {
    passing: false,
    nextStep: 'Look whether the repository is still there, and whether the token may see it.',
  },
  no_commits: { passing: false, nextStep: 'There is nothing to merge. Send a follow-up if there should be.' },
  closed_by_person: { passing: false, nextStep: 'Open it again on the forge if it is wanted after all.' },
  refused: { passing: false, nextStep: 'Mend what the forge says, and ask for it again.' },
  rate_limited: { passing: true, nextStep: 'It is tried again when the forge allows.' },
  unavailable: { passing: true, nextStep: 'It is tried again by itself.' },
} as const satisfies Record<string, { passing: boolean; nextStep: string }>

export type ForgeFailureCode = keyof typeof forgeFailureCodes

export const PullRequestFailure = z
  .object({
    code: z.enum(Object.keys(forgeFailureCodes) as [ForgeFailureCode, ...ForgeFailureCode[]]),
    message: z.string(),
    next_step: z.string(),
    retryable: z.boolean().describe('True: it may succeed later without anything being changed.'),
  })
  .meta({ id: 'PullRequestFailure' })
export type PullRequestFailure = z.infer<typeof PullRequestFailure>

/** `waiting`: it is tried again by itself. `failed`: it is not, until somebody asks for it. */
export const pullRequestStates = ['asked', 'waiting', 'opened', 'failed'] as const
export type PullRequestState = (typeof pullRequestStates)[number]

/** The pull request of one repository of a run. */
export const PullRequestItem = z
  .object({
    path: z.string().describe('Of the repository, in the workspace.'),
    repository: z.string().describe("The repository's URL, without credentials."),
    branch: z.string(),
    state: z.enum(pullRequestStates),
    url: z.string().nullable(),
    number: z.number().int().nullable(),
    status: z.enum(pullRequestStatuses).nullable().describe('On the forge, as it was last seen.'),
    notes: z.array(z.string()).describe('What of it could not be done: a label, a reviewer, the draft.'),
    failure: PullRequestFailure.nullable(),
    attempts: z.number().int(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: 'PullRequestItem' })
export type PullRequestItem = z.infer<typeof PullRequestItem>

/** `GET` and `POST /agent/runs/{runId}/pull-requests`. */
export const PullRequests = z.object({ pull_requests: z.array(PullRequestItem) }).meta({ id: 'PullRequests' })
export type PullRequests = z.infer<typeof PullRequests>
