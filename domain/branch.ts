// The name of a branch.
import { z } from 'zod'

/** As git takes it (git-check-ref-format), without `refs/heads/`. */
export const BranchName = z
  .string()
  .min(1)
  .max(200)
  .refine(
    (name) =>
      !/[\s\p{Cc}~^:?*[\\]|\.\.|@\{|^[-@]$|^-|\.$/u.test(name) &&
      !/^(refs\/|HEAD$)/.test(name) &&
      name.split('/').every((part) => part !== '' && !part.startsWith('.') && !part.endsWith('.lock')),
    { error: 'must be the name of a branch, as git takes it' },
  )

/** The branch of a run that is to have a pull request and names no branch for it. */
export const runBranch = (runId: string): string => `ambient/${runId}`

/** Whether a branch was named by {@link runBranch}, of whichever run. */
export const isRunBranch = (branch: string | undefined): boolean =>
  branch !== undefined && /^ambient\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(branch)
