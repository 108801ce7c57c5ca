// Which skills a run works by: what its request, or whatever stands for it, names, pinned to what it says now.
import type { RunConfiguration } from '../domain/configuration/configuration.ts'
import {
  type PinnedSkill,
  parseSkillName,
  repositoryName,
  type SkillReference,
  skillSpec,
} from '../domain/configuration/skill.ts'
import { nearest } from '../domain/nearest.ts'
import { HttpError, invalid, notFound } from '../domain/problem.ts'
import type { AgentConfig, StartRun } from '../domain/run.ts'
import type { Tx } from '../store/database.ts'
import { skillsOfRun } from '../store/skills/run-skills.ts'
import {
  holdContents,
  type KnownSkill,
  knownSkills,
  type ReadingStanding,
  readingStandings,
} from '../store/skills/skills.ts'

/** The prompt of a run that is asked for by its skill alone. */
export const BY_SKILL = 'Do what your skill says.'

/**
 * The request with all skills that it names in `config.skills`, `skill` before
 * the rest; and a prompt, where it leaves that to them.
 * @throws {HttpError} 400 where `skill_spec` and `skills` say different things.
 */
export function withSkills(body: StartRun): StartRun {
  const { skill, ...rest } = body
  const { skill_spec: spec, skills } = rest.config ?? {}
  // Answers have both, the first one twice.
  if (spec && skills && skills.length > 0 && skills[0] !== spec)
    throw invalid('config.skills: cannot be given together with config.skill_spec')
  const config = rest.config && skillsTogether(rest.config)
  const [, ...further] = config?.skills ?? []
  const all = skill ? [skill, ...further.filter((name) => name !== skill)] : config?.skills
  const isAsked = all != null && all.length > 0
  return {
    ...rest,
    ...(skill ? { config: { ...config, skills: all } } : { config }),
    ...(isAsked && rest.prompt == null && rest.saved_prompt == null && { prompt: BY_SKILL }),
  }
}

/** A configuration that has its skills in one field. */
export function skillsTogether(config: AgentConfig): AgentConfig {
  const { skill_spec: spec, ...rest } = config
  if (rest.skills != null && (rest.skills.length > 0 || !spec)) return rest
  return spec ? { ...rest, skills: [spec] } : rest
}

/** A configuration as it is kept, with the skills as answers name them. */
export function withPinned(config: AgentConfig, skills: readonly PinnedSkill[]): AgentConfig {
  const { skills: _, ...rest } = config
  const [first] = skills
  if (first === undefined) return rest
  return { ...rest, name: rest.name ?? first.name, skill_spec: skillSpec(first), skills: skills.map(skillSpec) }
}

/** Where `agent_config` has what follows from the skills. */
export function withSkillSources(record: RunConfiguration, { name }: AgentConfig, pinned: readonly PinnedSkill[]) {
  const { skills, ...sources } = record.sources
  if (skills === undefined || pinned.length === 0) return record
  const named = name == null ? { name: skills } : {}
  return { ...record, sources: { ...sources, ...named, skill_spec: skills, skills } }
}

export interface SkillPlace {
  team: string
  /** The stored environment of the run: its skills come before others of the same name. */
  environmentId: string | null
  /** The run that it was forked from: what that one had, it has as that one had it. */
  forkedFrom: string | null
}

/**
 * The skills that are meant, in their order, each once. What they say stays at
 * hand until the end of the transaction.
 * @throws {HttpError} 404 where there is none; 400 where several are meant, or one that cannot be used; 503 while the
 * repositories in which it may be are still to be read.
 */
export async function pinSkills(tx: Tx, place: SkillPlace, names: readonly string[]): Promise<PinnedSkill[]> {
  if (names.length === 0) return []
  const former = place.forkedFrom === null ? [] : await skillsOfRun(tx, place.forkedFrom)
  const known = await knownSkills(tx, place.team)
  const pinned: PinnedSkill[] = []
  for (const name of names) {
    const kept = former.find((skill) => skillSpec(skill) === name)
    const skill = kept ?? (await findSkill(tx, place, name, known))
    if (!pinned.some((other) => skillSpec(other) === skillSpec(skill))) pinned.push(skill)
  }
  const held = await holdContents(
    tx,
    pinned.map(({ content }) => content),
  )
  // Read anew between the two looks: what was found is no more.
  if (pinned.some(({ content }) => !held.includes(content)))
    throw new HttpError(503, 'resource_unavailable', 'The skills are being read anew. Try again.', { retryAfter: 1 })
  return pinned
}

async function findSkill(tx: Tx, place: SkillPlace, name: string, known: readonly KnownSkill[]): Promise<PinnedSkill> {
  const reference = parseSkillName(name)
  const fitting = known.filter((skill) => fits(skill, reference))
  const meant = preferred(fitting, place.environmentId)
  const [first] = meant
  if (first === undefined) throw await missing(tx, place, name, known)
  // Some repositories have a skill in the folders of several agents.
  const distinct = meant.filter((skill, at) => meant.findIndex((other) => isSame(skill, other)) === at)
  const several = [...new Set(distinct.map(skillSpec))]
  if (several.length > 1)
    throw invalid(`skill: "${name}" may be ${several.length} skills. Name one of ${several.join(', ')}.`)
  const { content, problem } = first
  if (content === null) throw invalid(`skill: ${skillSpec(first)} cannot be used: ${problem}.`)
  const { description, owner, repo, url, path, revision } = first
  return { name: first.name, description, owner, repo, url, path, revision, content }
}

const isSame = (one: KnownSkill, other: KnownSkill) =>
  skillSpec(one) === skillSpec(other) || (one.url === other.url && one.content === other.content)

function fits(skill: KnownSkill, { owner, repo, rest }: SkillReference): boolean {
  if (owner !== null && owner.toLowerCase() !== skill.owner.toLowerCase()) return false
  if (repo !== null && repo.toLowerCase() !== skill.repo.toLowerCase()) return false
  if (skill.name.toLowerCase() === rest.toLowerCase()) return true
  const folder = rest.replace(/\/+$/, '')
  // A name alone is no path: there may be a folder of this name in each repository.
  return repo !== null && [rest, `${folder}/SKILL.md`].includes(skill.path)
}

/** Those of the run's own environment, where it has any; of one skill in several environments, as it was read last. */
function preferred(fitting: readonly KnownSkill[], environmentId: string | null): KnownSkill[] {
  const own = fitting.filter((skill) => skill.environmentId === environmentId)
  const usable = (own.length > 0 ? own : fitting).toSorted(
    (one, other) =>
      Number(one.content === null) - Number(other.content === null) || other.readAt.getTime() - one.readAt.getTime(),
  )
  const working = usable.filter(({ content }) => content !== null)
  return working.length > 0 ? working : usable.slice(0, 1)
}

async function missing(tx: Tx, place: SkillPlace, name: string, known: readonly KnownSkill[]) {
  const reference = parseSkillName(name)
  const standings = (await readingStandings(tx, place.team)).filter(({ urls }) =>
    urls.some((url) => isAt(url, reference)),
  )
  if (reference.repo !== null && standings.length === 0)
    return notFound(
      `skill: no environment of the team has the repository ${name.slice(0, name.indexOf(':'))}. Skills come from the repositories of stored environments: add it to one.`,
    )
  const waited = standings.find(({ reading, wasRead }) => !wasRead && !reading?.isOver)
  if (waited)
    return new HttpError(
      503,
      'resource_unavailable',
      `skill: there is no skill "${name}" yet: the repositories of the environment "${waited.environment}" have not been read. Try again in a moment.`,
      { retryAfter: 2 },
    )
  const failed = standings.flatMap((standing) => failuresOf(standing, reference))
  const usable = known.filter(({ content }) => content !== null)
  const there = usable.filter((skill) => isAt(skill.url, reference))
  const meant = nearest(
    reference.rest,
    there.map((skill) => skill.name),
  )
  const specs = [...new Set((there.length > 0 ? there : usable).map(skillSpec))]
  const hint =
    meant !== null
      ? ` Is ${there
          .filter((skill) => skill.name === meant)
          .map(skillSpec)
          .join(' or ')} meant?`
      : specs.length === 0
        ? ' None is known: they are found in the repositories of stored environments.'
        : ` There ${specs.length === 1 ? 'is' : 'are'} ${specs.slice(0, SHOWN).join(', ')}${specs.length > SHOWN ? `, and ${specs.length - SHOWN} more (GET /agent)` : ''}.`
  return notFound([`skill: there is no skill "${name}".${hint}`, ...failed].join(' '))
}

/** Candidates that a message names. */
const SHOWN = 10

function isAt(url: string, { owner, repo }: SkillReference): boolean {
  const named = repositoryName(url)
  if (owner !== null && owner.toLowerCase() !== named.owner.toLowerCase()) return false
  return repo === null || repo.toLowerCase() === named.repo.toLowerCase()
}

function failuresOf({ environment, reading }: ReadingStanding, reference: SkillReference): string[] {
  if (reading === null) return []
  if (reading.failure !== null) return [`The repositories of "${environment}" could not be read: ${reading.failure}`]
  return (reading.repositories ?? [])
    .filter(({ url, failure }) => failure !== null && isAt(url, reference))
    .map(({ owner, repo, failure }) => `${owner}/${repo} could not be read: ${failure}`)
}
