// What git says of a repository in a sandbox, as a checkpoint keeps it.
import { z } from 'zod'
import { Hash } from '../work-product/work-product.ts'

/** Tags, notes, and what a bisection has marked. */
const OtherRef = z.string().regex(/^refs\/(?!heads\/|remotes\/|stash$)[^\s\p{Cc}]+$/u)
const Branch = z.string().regex(/^refs\/heads\/[^\s\p{Cc}]+$/u)
/** Below the repository. */
const PathBelow = z
  .string()
  .refine(
    (path) => !/[\0\n]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..'),
  )

export const RepositoryFacts = z.object({
  path: PathBelow,
  /** The commit it was cloned at: every clone has what came before it. */
  cloned: Hash.nullable(),
  /** Git does not know it as a repository: it is kept as plain files. */
  is_plain: z.boolean(),
  head: Hash.nullable(),
  branch: Branch.nullable(),
  branches: z.array(z.object({ name: Branch, commit: Hash })),
  /** Other refs that the agent has made or changed; those that it removed have no object. */
  refs: z.array(z.object({ name: OtherRef, object: Hash.nullable() })).default([]),
  /** The newest first. */
  stash: z.array(Hash),
  /** The files of the working directory, untracked ones included and ignored ones not. */
  worktree: Hash.nullable(),
  /** The index, without what stands unmerged in it; null where it cannot be kept. */
  staged: Hash.nullable(),
  /** The paths that stand unmerged in the index. */
  unmerged: Hash.nullable().default(null),
  /** Git's own notes of what is going on: a merge, a rebase. */
  going: Hash.nullable().default(null),
  /** It has linked worktrees. */
  is_linked: z.boolean().default(false),
  /** A submodule that was there at the start, as a repository of its own. */
  is_submodule: z.boolean().default(false),
  /** Files that differ from the start of the run. */
  files_changed: z.number().int().min(0).default(0),
  /** Repositories of other repositories, as the index has them. */
  links: z.array(PathBelow),
  /** What git does not take in: kept as plain files. */
  plain: z.array(PathBelow),
  /** What the agent has made or changed of what git ignores. Not all of it need be kept. */
  ignored: z.array(PathBelow).default([]),
  /** What git ignores and was there at the start, and is there no more. */
  vanished: z.array(PathBelow).default([]),
  /** What was going on, of a checkpoint that does not hold it. */
  unfinished: z.array(z.string().max(40)).default([]),
  /** What cannot be kept for its name. */
  lost: z.array(z.string()),
})
export type RepositoryFacts = z.infer<typeof RepositoryFacts>

/** Of a submodule, says itself which one it is. @throws {z.ZodError} when this is not what the script says. */
export function parseRepositoryFacts(
  repository: { path: string; cloned: string | null } | null,
  text: string,
): RepositoryFacts {
  const lines = text.split('\n')
  const values = (name: string) =>
    lines.filter((line) => line.startsWith(`${name} `)).map((line) => line.slice(name.length + 1))
  const value = (name: string) => values(name)[0] || null
  const paths = (name: string) => values(name).map((path) => unquoted(path).replace(/\/$/, ''))
  const isPlain = lines[0] === 'plain'
  const links = paths('link')
  const others = paths('other')
  const ignored = paths('ignored')
  const isUsual = (path: string) => PathBelow.safeParse(path).success
  const linked = lines.includes('linked') ? ['.git/worktrees'] : []
  return RepositoryFacts.parse({
    ...(repository ?? submoduleOf(value('submodule') ?? '')),
    is_submodule: repository === null,
    is_plain: isPlain,
    head: value('head'),
    branch: value('branch'),
    branches: values('ref')
      .map(refOf)
      .map(({ name, object }) => ({ name, commit: object })),
    refs: [...values('xref').map(refOf), ...values('xgone').map((name) => ({ name, object: null }))],
    stash: values('stash'),
    worktree: isPlain ? null : (value('worktree') ?? ''),
    staged: value('staged') === '-' ? null : value('staged'),
    unmerged: value('unmerged'),
    going: value('going'),
    is_linked: linked.length > 0,
    files_changed: Number(value('files') ?? 0),
    links: links.filter(isUsual),
    plain: [...others.filter(isUsual), ...linked],
    ignored: ignored.filter(isUsual),
    vanished: paths('vanished').filter(isUsual),
    lost: [
      ...[...links, ...others, ...ignored].filter((path) => !isUsual(path)),
      ...values('many').map((count) => `${count} files that git ignores`),
      ...values('outside').map((place) => `the worktree ${place.replace(/\/\.git$/, '')}`),
    ],
  })
}

function refOf(line: string): { name: string | undefined; object: string | undefined } {
  const [object, name] = line.split(' ')
  return { name, object }
}

function submoduleOf(line: string): { path: string | undefined; cloned: string | undefined } {
  const cut = line.indexOf(' ')
  return { path: PathBelow.parse(line.slice(cut + 1)), cloned: line.slice(0, cut) }
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
