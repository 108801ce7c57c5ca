// Skills: folders of a repository with a SKILL.md, which Oz lists as agents.
import { z } from 'zod'

/** Largest SKILL.md, in bytes. It is given to an agent as a whole. */
export const SKILL_TEXT_BYTES = 256 * 1024
/** Files of one skill beside its SKILL.md, and what they may come to in bytes. They are kept for runs. */
export const SKILL_FILES = 200
export const SKILL_FILES_BYTES = 2 * 1024 * 1024
/** Skills of one repository, and what those of all repositories of an environment may come to in bytes. */
export const SKILLS_OF_REPOSITORY = 500
export const SKILLS_BYTES = 32 * 1024 * 1024
export const SKILL_NAME_CHARS = 64
export const SKILL_DESCRIPTION_CHARS = 1_024
/** Skills that one run may name. */
export const SKILLS_OF_RUN = 20

/** How a skill is named: `owner/repo:path`, `owner/repo:name`, `repo:path`, `repo:name`, or its name alone. */
export const SkillName = z
  .string()
  .min(1)
  .max(1_000)
  .refine((text) => !/\p{Cc}/u.test(text) && text.trim() === text && !/^:|:$/.test(text), {
    error: 'must be owner/repo:path, owner/repo:name, repo:path, repo:name or the name of a skill',
  })

export interface SkillReference {
  owner: string | null
  repo: string | null
  /** The skill's name, or where its folder or its SKILL.md is. */
  rest: string
}

export function parseSkillName(text: string): SkillReference {
  const colon = text.indexOf(':')
  if (colon === -1) return { owner: null, repo: null, rest: text }
  const place = text.slice(0, colon)
  const slash = place.lastIndexOf('/')
  return {
    owner: slash === -1 ? null : place.slice(0, slash),
    repo: place.slice(slash + 1),
    rest: text.slice(colon + 1).replace(/^\.?\/+/, ''),
  }
}

/** The one name that stands for this skill alone. */
export const skillSpec = ({ owner, repo, path }: Pick<SkillSource, 'owner' | 'repo' | 'path'>): string =>
  `${owner}/${repo}:${path}`

/** Where a skill is. */
export interface SkillSource {
  owner: string
  repo: string
  /** Without credentials. */
  url: string
  /** Of its SKILL.md in the repository. */
  path: string
}

/** A skill as a run has it: what it says is what it said at this commit. */
export const PinnedSkill = z.object({
  name: z.string(),
  description: z.string(),
  owner: z.string(),
  repo: z.string(),
  url: z.string(),
  path: z.string(),
  revision: z.string(),
  /** Of its text and its files. */
  content: z.string(),
})
export type PinnedSkill = z.infer<typeof PinnedSkill>

/** A file of a skill's folder, by its path in it. */
export const SkillFile = z.object({ path: z.string(), executable: z.boolean(), content: z.base64() })
export type SkillFile = z.infer<typeof SkillFile>

/** Who owns a repository, and what it is called there, as far as its URL tells. */
export function repositoryName(url: string): { owner: string; repo: string } {
  const path = url
    .replace(/[?#].*$/, '')
    .replace(/^\w+:\/\/[^/]*/, '')
    .replace(/^[\w.-]+@[\w.-]+:/, '')
    .replace(/\/+$/, '')
    .replace(/(?<=[^/])\.git$/, '')
  const parts = path.split('/').filter((part) => part !== '')
  const repo = parts.at(-1) ?? ''
  // On a disk, the folders above are nobody's name.
  const owners = /^file:/i.test(url) ? parts.slice(-2, -1) : parts.slice(0, -1)
  return { owner: owners.join('/'), repo }
}

/** `GET /agent` */
export const SkillQuery = z.object({
  repo: z
    .string()
    .regex(/^[\w.-]+(\/[\w.-]+)+$/)
    .optional()
    .describe('`owner/repo`'),
  refresh: z
    .boolean()
    .optional()
    .describe('Have the repositories read again, and wait for it, for 20 seconds at the most.'),
  sort_by: z.enum(['name', 'last_run']).optional().describe('Absent: by name.'),
  include_malformed_skills: z.boolean().optional().describe('With those that cannot be used; `error` says why.'),
})

export const SkillVariant = z
  .object({
    id: z.string().describe('`owner/repo:path`: what runs name it by.'),
    description: z.string(),
    base_prompt: z.string().describe('The text of its SKILL.md, without what stands before it about the skill.'),
    source: z.object({
      owner: z.string(),
      name: z.string(),
      skill_path: z.string().describe('Of its SKILL.md in the repository.'),
    }),
    environments: z.array(z.object({ uid: z.string(), name: z.string() })),
    last_run_timestamp: z.iso.datetime().nullish(),
    error: z.string().optional().describe('Why it cannot be used.'),
    revision: z.string().describe('The commit at which it was read. Runs that name it get what it says there.'),
  })
  .meta({ id: 'SkillVariant' })
export type SkillVariant = z.infer<typeof SkillVariant>

export const SkillList = z
  .object({
    agents: z.array(z.object({ name: z.string(), variants: z.array(SkillVariant) })),
    unread: z
      .array(
        z.object({
          environment: z.object({ uid: z.string(), name: z.string() }),
          repository: z.string().nullable().describe('Null: none of its repositories was read.'),
          reason: z.string(),
        }),
      )
      .optional()
      .describe('Repositories whose skills are not known, or not as they are now.'),
  })
  .meta({ id: 'SkillList' })
export type SkillList = z.infer<typeof SkillList>

/** The skill of a run, as it is served. */
export const RunSkill = z
  .object({
    name: z.string(),
    description: z.string(),
    full_path: z.string().describe('`owner/repo:path` of its SKILL.md.'),
    revision: z.string().describe('The commit that it is pinned to.'),
  })
  .meta({ id: 'RunSkill' })
export type RunSkill = z.infer<typeof RunSkill>

export const servedSkill = (skill: PinnedSkill): RunSkill => ({
  name: skill.name,
  description: skill.description,
  full_path: skillSpec(skill),
  revision: skill.revision,
})
