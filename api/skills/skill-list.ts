// The skills of a team as agents, which is what Oz lists under that name.

import type { SkillList, SkillVariant } from '../../domain/configuration/skill.ts'
import { repositoryName, skillSpec } from '../../domain/configuration/skill.ts'
import { skillBody } from '../../domain/configuration/skill-file.ts'
import { withoutCredentials } from '../../domain/run.ts'
import type { Db } from '../../store/database.ts'
import { skillContents } from '../../store/skills/contents.ts'
import {
  type KnownSkill,
  knownSkills,
  lastRuns,
  type ReadingStanding,
  readingStandings,
} from '../../store/skills/skills.ts'

export interface SkillFilter {
  team: string
  /** `owner/repo` */
  repo: string | null
  sortBy: 'name' | 'last_run'
  withMalformed: boolean
}

export async function listSkills(db: Db, { team, repo, sortBy, withMalformed }: SkillFilter): Promise<SkillList> {
  const [wanted, standings, runs] = await Promise.all([
    knownSkills(db, team, { repo, withMalformed }),
    readingStandings(db, team),
    lastRuns(db, team),
  ])
  const contents = await skillContents(
    db,
    wanted.flatMap(({ content }) => (content === null ? [] : [content])),
    { withFiles: false },
  )
  const bodyOf = ({ content }: KnownSkill) =>
    skillBody((content === null ? undefined : contents.get(content)?.text) ?? '')
  const names = new Map<string, SkillVariant[]>()
  for (const skills of variantsOf(wanted)) {
    const [skill] = skills
    if (skill === undefined) continue
    const last = runs.get(keyOf(skill))
    const variant: SkillVariant = {
      id: skillSpec(skill),
      description: skill.description,
      base_prompt: skill.problem === null ? bodyOf(skill) : '',
      source: { owner: skill.owner, name: skill.repo, skill_path: skill.path },
      environments: skills.map(({ environmentId: uid, environment: name }) => ({ uid, name })),
      revision: skill.revision,
      ...(last && { last_run_timestamp: last.toISOString() }),
      ...(skill.problem !== null && { error: skill.problem }),
    }
    names.set(skill.name, [...(names.get(skill.name) ?? []), variant])
  }
  const agents = [...names].map(([name, variants]) => ({
    name,
    variants: variants.toSorted((one, other) => (one.id < other.id ? -1 : one.id > other.id ? 1 : 0)),
  }))
  const unread = standings.flatMap((standing) => unreadIn(standing, repo))
  return { agents: sorted(agents, sortBy), ...(unread.length > 0 && { unread }) }
}

const keyOf = ({ owner, repo, path }: KnownSkill) => `${`${owner}/${repo}`.toLowerCase()}:${path}`

const isOf = ({ owner, repo: name }: Pick<KnownSkill, 'owner' | 'repo'>, repo: string | null) =>
  repo === null || `${owner}/${name}`.toLowerCase() === repo.toLowerCase()

/** One skill in several environments is one variant, where it says the same in all of them. */
function variantsOf(skills: readonly KnownSkill[]): KnownSkill[][] {
  const variants = new Map<string, KnownSkill[]>()
  for (const skill of skills) {
    const key = JSON.stringify([keyOf(skill), skill.url, skill.content, skill.problem])
    const same = variants.get(key) ?? []
    if (!same.some(({ environmentId }) => environmentId === skill.environmentId)) variants.set(key, [...same, skill])
  }
  return [...variants.values()]
}

function sorted(agents: SkillList['agents'], by: SkillFilter['sortBy']): SkillList['agents'] {
  const lastOf = ({ variants }: SkillList['agents'][number]) =>
    variants.map(({ last_run_timestamp: time }) => time ?? '').reduce((one, other) => (one > other ? one : other), '')
  return agents.toSorted((one, other) => {
    const name = one.name < other.name ? -1 : one.name > other.name ? 1 : 0
    if (by === 'name') return name
    const [mine, others] = [lastOf(one), lastOf(other)]
    return mine === others ? name : mine > others ? -1 : 1
  })
}

function unreadIn(
  { environmentId: uid, environment: name, urls, reading, wasRead }: ReadingStanding,
  repo: string | null,
): NonNullable<SkillList['unread']> {
  const environment = { uid, name }
  if (!urls.some((url) => isOf(repositoryName(url), repo))) return []
  if (reading?.failure) return [{ environment, repository: null, reason: reading.failure }]
  if (!wasRead) return [{ environment, repository: null, reason: 'Its repositories have not been read yet.' }]
  return (reading?.repositories ?? []).flatMap(({ url, failure, ...named }) =>
    failure === null || !isOf(named, repo)
      ? []
      : [{ environment, repository: withoutCredentials(url), reason: failure }],
  )
}
