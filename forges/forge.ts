// What a forge is to us: a place where a pushed branch becomes a pull request.
import type { ForgeFailureCode, PullRequestStatus } from '../domain/git/pull-request.ts'

export interface PullRequest {
  number: number
  url: string
  status: PullRequestStatus
  /** As it is on the forge, with what people have made of it. */
  body: string
}

export interface NewPullRequest {
  branch: string
  base: string
  title: string
  body: string
  draft: boolean
}

/** One repository on a forge. Every call is one or a few requests, and throws {@link ForgeError}. */
export interface ForgeRepository {
  /** Those of the branch, the newest first, whatever has become of them. */
  list(branch: string): Promise<PullRequest[]>
  /** The branch to merge into: `wanted` where the repository has a branch of that name, else its default branch. */
  base(wanted: string | null): Promise<string>
  /** @throws {ForgeError} with `exists`, `no_commits`, `no_drafts` among others. */
  create(pullRequest: NewPullRequest): Promise<PullRequest>
  /** Adds labels and asks for reviews, and takes none away. @returns what could not be done, in sentences. */
  dress(number: number, wanted: { labels: readonly string[]; reviewers: readonly string[] }): Promise<string[]>
}

/** A kind of forge. */
export interface Forge {
  readonly name: string
  /** The host that it is found at when nobody names another one. */
  readonly home: string
  /** Where its API is, below the address of a server. */
  api(server: string): string
  repository(at: RepositoryPlace): ForgeRepository
}

export interface RepositoryPlace {
  /** Address of the API, without a trailing slash. */
  api: string
  /** `owner/name`, or `group/sub/name`. */
  path: string
  token: string
  signal: AbortSignal
}

/** Beside the failures that people are told: what the opening of a pull request itself knows how to go on from. */
export type ForgeErrorCode = ForgeFailureCode | 'exists' | 'no_drafts'

export class ForgeError extends Error {
  override readonly name = 'ForgeError'
  readonly code: ForgeErrorCode
  /** When it may be tried again, in seconds from now; null where the forge does not say. */
  readonly afterSeconds: number | null

  constructor(code: ForgeErrorCode, message: string, afterSeconds: number | null = null, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.afterSeconds = afterSeconds
  }
}
