// What git says of a repository in a sandbox, as a checkpoint keeps it.
import { z } from 'zod'
import { Hash } from './work-product.ts'

const Branch = z.string().regex(/^refs\/heads\/[^\s\p{Cc}]+$/u)
/** Below the repository. */
const PathBelow = z
  .string()
  .refine(
    (path) => !/[\0\n]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..'),
  )

export const RepositoryFacts = z.object({
  path: z.string(),
  /** The commit it was cloned at: every clone has what came before it. */
  cloned: Hash.nullable(),
  /** Git does not know it as a repository: it is kept as plain files. */
  is_plain: z.boolean(),
  head: Hash.nullable(),
  branch: Branch.nullable(),
  branches: z.array(z.object({ name: Branch, commit: Hash })),
  /** The newest first. */
  stash: z.array(Hash),
  /** The files of the working directory, untracked ones included and ignored ones not. */
  worktree: Hash.nullable(),
  /** The index; null where a merge stands in it. */
  staged: Hash.nullable(),
  /** Repositories of other repositories, as the index has them. */
  links: z.array(PathBelow),
  /** What git does not take in: kept as plain files. */
  plain: z.array(PathBelow),
  /** What was going on: a merge, a rebase. */
  unfinished: z.array(z.string().max(40)),
  /** What cannot be kept for its name. */
  lost: z.array(z.string()),
})
export type RepositoryFacts = z.infer<typeof RepositoryFacts>

/** @throws {z.ZodError} when this is not what the script says. */
export function parseRepositoryFacts(
  repository: { path: string; cloned: string | null },
  text: string,
): RepositoryFacts {
  const lines = text.split('\n')
  const values = (name: string) =>
    lines.filter((line) => line.startsWith(`${name} `)).map((line) => line.slice(name.length + 1))
  const value = (name: string) => values(name)[0] || null
  const isPlain = lines[0] === 'plain'
  const links = values('link').map(unquoted)
  const others = values('other').map((path) => unquoted(path).replace(/\/$/, ''))
  const isUsual = (path: string) => PathBelow.safeParse(path).success
  return RepositoryFacts.parse({
    ...repository,
    is_plain: isPlain,
    head: value('head'),
    branch: value('branch'),
    branches: values('ref').map((line) => {
      const [commit, name] = line.split(' ')
      return { name, commit }
    }),
    stash: values('stash'),
    worktree: isPlain ? null : (value('worktree') ?? ''),
    staged: value('staged') === '-' ? null : value('staged'),
    links: links.filter(isUsual),
    plain: others.filter(isUsual),
    unfinished: values('unfinished'),
    lost: [...links, ...others].filter((path) => !isUsual(path)),
  })
}

/** A path as git writes it: in quotes, with escapes, where it holds anything unusual. */
function unquoted(path: string): string {
  if (!/^".*"$/.test(path)) return path
  const escapes: Record<string, string> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }
  const bytes = path
    .slice(1, -1)
    .replace(/\\([0-7]{3}|.)/g, (_, code: string) =>
      code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : (escapes[code] ?? code),
    )
  return Buffer.from(bytes, 'latin1').toString('utf8')
}
