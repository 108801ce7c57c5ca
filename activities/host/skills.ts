// Runs on the worker that holds the sandbox. The skills of a run: where they lie for the agent, and what it is told of them.

import { type PinnedSkill, skillSpec } from '../../domain/configuration/skill.ts'
import { skillBody } from '../../domain/configuration/skill-file.ts'
import { withoutCredentials } from '../../domain/run.ts'
import { repositoryPath } from '../../environments/git/repositories.ts'
import type { Sandbox } from '../../environments/host.ts'
import { writeFilesBelow } from '../../environments/inside-directory.ts'
import type { Execution } from './execution.ts'

/** In the home, beside what agents have there. Skills of other revisions than the workspace's, or of other repositories, lie here. */
const DIRECTORY = '.ambient/skills'

interface PlacedSkill extends PinnedSkill {
  /** As the agent sees it. */
  folder: string
  /** Relative to the home; null: the repository in the workspace has it. */
  written: string | null
  /** The agent finds it there by itself. */
  isFound: boolean
}

/** Puts those that the workspace does not have into the home. Safe to repeat. */
export async function placeSkills(execution: Execution, sandbox: Sandbox): Promise<void> {
  const { deps, ref, order, state, stop } = execution
  const placed = placesOf(execution)
  if (placed.every(({ written }) => written === null)) return
  const contents = await deps.server.skills(ref.runId, { withFiles: true }, stop)
  if (contents.length !== order.skills.length) throw new Error('the server has other skills of the run than it had')
  const files = placed.flatMap(({ written }, index) => {
    const content = contents[index]
    if (written === null || content === undefined) return []
    return [
      { path: `${written}/SKILL.md`, content: content.text, mode: 0o644 },
      ...content.files.map((file) => ({
        path: `${written}/${file.path}`,
        content: Buffer.from(file.content, 'base64'),
        mode: file.executable ? 0o755 : 0o644,
      })),
    ]
  })
  await writeFilesBelow(state.paths.home, files, sandbox.owner)
}

/** What an agent is told before the first message of a session; null where the run has no skills. */
export async function skillInstructions(execution: Execution): Promise<string | null> {
  const { deps, ref, order, stop } = execution
  if (order.skills.length === 0) return null
  const [own, ...further] = placesOf(execution)
  const [content] = await deps.server.skills(ref.runId, { withFiles: false }, stop)
  if (own === undefined || content === undefined) throw new Error('the server has no skills of the run any more')
  const parts = [textOfSkill(own, content.text)]
  const untold = further.filter(({ isFound }) => !isFound)
  if (untold.length > 0) {
    const list = untold.map(({ name, description, folder }) => `- ${name}: ${description} (${folder}/SKILL.md)`)
    parts.push(`Further skills are at hand. Before you do what one of them is for, read its file:\n${list.join('\n')}`)
  }
  return parts.join('\n\n')
}

/** `text`: its SKILL.md. */
export const textOfSkill = (skill: Pick<PlacedSkill, 'name' | 'owner' | 'repo' | 'path' | 'folder'>, text: string) =>
  [
    `You work by the skill "${skill.name}" (${skillSpec(skill)}). What it says follows. Its files are in ${skill.folder}: paths in it that are not found elsewhere are relative to that directory.`,
    `<skill name="${skill.name}">\n${skillBody(text)}\n</skill>`,
  ].join('\n\n')

/** The run's own skill is told whole; a further one lies where its agent finds it by itself, if it may. */
function placesOf({ deps, ref, order, agent, state }: Execution): PlacedSkill[] {
  const { workspace, home } = deps.host.paths(ref.runId, null)
  const { cloned } = state.get()
  const { inRepository, inHome } = agent.protocol === 'acp' ? agent.skills : { inRepository: [], inHome: null }
  // With several repositories, it works above them.
  const looksInside = order.environment.repos.length === 1
  const taken: string[] = []
  return order.skills.map((skill, index) => {
    const at = order.environment.repos.find(
      (repository) =>
        withoutCredentials(repository.url) === skill.url && cloned[repositoryPath(repository)] === skill.revision,
    )
    if (at) {
      const path = skill.path.split('/').slice(0, -1).join('/')
      const isFound = looksInside && inRepository.some((folder) => path === `${folder}/${path.split('/').at(-1)}`)
      return { ...skill, folder: `${workspace}/${repositoryPath(at)}/${path}`, written: null, isFound }
    }
    const name = skill.name.replace(/[^\p{L}\p{N}._-]/gu, '-')
    let own = name
    for (let number = 2; taken.includes(own); number++) own = `${name}-${number}`
    taken.push(own)
    // Agents differ in what else they take for a name, and want it to be that of the folder.
    const isFound = index > 0 && inHome !== null && /^[a-z0-9]+(-[a-z0-9]+)*$/.test(skill.name) && own === skill.name
    const written = `${isFound ? inHome : DIRECTORY}/${own}`
    return { ...skill, folder: `${home}/${written}`, written, isFound }
  })
}
