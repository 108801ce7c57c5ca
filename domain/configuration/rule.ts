// Rules: texts that agents are given beside what the repositories themselves say in AGENTS.md.
import { z } from 'zod'
import { Uid } from '../account.ts'
import { RULE_BYTES } from '../limits.ts'
import { PageInfo } from '../page.ts'
import { boundedText, itemFields, ownerField, servedFields, versionField } from './shared-item.ts'

/** `owner/repo`, `owner/*`, `github.com/owner/**`. */
const RepositoryPattern = z
  .string()
  .min(1)
  .max(500)
  .regex(
    /^(\*\*|[\w.-]*(\*[\w.-]*)?)(\/(\*\*|[\w.-]*(\*[\w.-]*)?))*$/,
    'must be owner/repo, or host/owner/repo; * stands for a part of a name, ** in place of one for any number of them',
  )
  .refine((pattern) => !pattern.split('/').includes(''), { error: 'has an empty part' })

const fields = {
  ...itemFields,
  text: boundedText(RULE_BYTES)
    .refine((text) => text.trim() !== '', { error: 'must not be empty' })
    .describe('What agents are told, in Markdown.'),
  repositories: z
    .array(RepositoryPattern)
    .max(100)
    .default([])
    .describe(
      'Only for runs with a repository that fits one of these: `owner/repo`, `owner/*`, `host/owner/**`. Empty: for all.',
    ),
  environment_ids: z
    .array(Uid)
    .max(100)
    .default([])
    .describe('Only for runs in one of these stored environments. Empty: for all.'),
  position: z
    .number()
    .int()
    .min(-1000)
    .max(1000)
    .default(0)
    .describe('Where it stands among the others: the lowest first, then by name. Personal ones come after the team’s.'),
  enabled: z.boolean().default(true),
}

/** Body of `POST /agent/rules`. */
export const NewRule = z.object({ ...fields, ...ownerField }).meta({ id: 'NewRule' })

/** Body of `PUT /agent/rules/{uid}`, which replaces everything. */
export const RuleChange = z.object({ ...fields, ...versionField }).meta({ id: 'RuleChange' })

export const Rule = z
  .object({
    ...servedFields,
    text: z.string(),
    repositories: z.array(z.string()),
    environment_ids: z.array(z.string()),
    position: z.number().int(),
    enabled: z.boolean(),
  })
  .meta({ id: 'Rule' })
export type Rule = z.infer<typeof Rule>

/** What is kept of one, beside its name. */
export type RuleContent = Pick<
  Rule,
  'description' | 'text' | 'repositories' | 'environment_ids' | 'position' | 'enabled'
>

export const RuleList = z
  .object({ rules: z.array(Rule).describe('In the order in which agents are given them.'), page_info: PageInfo })
  .meta({ id: 'RuleList' })

/** Whether a rule is for a run with these repositories in this stored environment. */
export function isFor(
  { repositories, environment_ids: environments }: Pick<RuleContent, 'repositories' | 'environment_ids'>,
  run: { repositories: readonly string[]; environmentId: string | null },
): boolean {
  if (environments.length > 0 && (run.environmentId === null || !environments.includes(run.environmentId))) return false
  if (repositories.length === 0) return true
  const names = run.repositories.map(repositoryName)
  return repositories.some((pattern) => names.some((name) => fits(name, pattern)))
}

/** `host/owner/repo` of a URL, in lower case. */
export function repositoryName(url: string): string {
  const scp = /^(?:[^@/\s]+@)?([^:/\s]+):(?!\/)(.+)$/.exec(url)
  const [host, path] = scp ? [scp[1] ?? '', scp[2] ?? ''] : hostAndPath(url)
  return [host, ...path.split('/')]
    .filter((part) => part !== '')
    .join('/')
    .replace(/\.git$/i, '')
    .toLowerCase()
}

function hostAndPath(url: string): [string, string] {
  const [, authority = '', path = ''] = /^[a-z+]+:\/\/([^/?#]*)([^?#]*)/i.exec(url) ?? []
  return [authority.replace(/^.*@/, '').replace(/:\d+$/, ''), path]
}

/** From its end: `owner/repo` fits whatever the host. */
function fits(name: string, pattern: string): boolean {
  const parts = ['**', ...pattern.toLowerCase().split('/')]
  return globs(name.split('/'), parts, '**', (part, of) =>
    globs([...part], [...of], '*', (one, other) => one === other),
  )
}

/** Whether what is given follows the pattern, in which `star` stands for any number of them. Never looks back further than to the last star. */
function globs(
  given: readonly string[],
  pattern: readonly string[],
  star: string,
  isSame: (one: string, of: string) => boolean,
): boolean {
  let [at, of, lastStar, from] = [0, 0, -1, 0]
  while (at < given.length) {
    const wanted = pattern[of]
    if (wanted === star) {
      lastStar = of++
      from = at
    } else if (wanted !== undefined && isSame(given[at] ?? '', wanted)) {
      at++
      of++
    } else if (lastStar >= 0) {
      of = lastStar + 1
      at = ++from
    } else return false
  }
  return pattern.slice(of).every((rest) => rest === star)
}
