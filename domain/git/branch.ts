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

/** The name of a branch, or several: `*` stands for anything within a part of it, `**` for anything. */
export const BranchPattern = z
  .string()
  .min(1)
  .max(200)
  .refine((pattern) => BranchName.safeParse(pattern.replaceAll('*', 'x')).success, {
    error: 'must be the name of a branch, or a pattern of one: agent/*',
  })
  // What a run pushes is held against it: many of them take long to be compared.
  .refine((pattern) => (pattern.match(/\*+/g) ?? []).length <= 3, { error: 'must have three * at most' })

/** Whether a branch is one of a {@link BranchPattern}. */
export function isBranchOf(pattern: string, branch: string): boolean {
  const parts = pattern.split(/(\*+)/).map((part) => {
    if (part === '*') return '[^/]*'
    return part.startsWith('*') ? '.*' : part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('')}$`).test(branch)
}

/** The branch of a run that is to have a pull request and names no branch for it. */
export const runBranch = (runId: string): string => `ambient/${runId}`

/** Whether a branch was named by {@link runBranch}, of whichever run. */
export const isRunBranch = (branch: string | undefined): boolean =>
  branch !== undefined && /^ambient\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(branch)
