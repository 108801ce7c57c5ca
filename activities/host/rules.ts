// What an agent is told as its user's own instructions.
import type { ExecutionOrder } from '../../domain/host-api.ts'
import { repositoryPath } from '../../environments/git/repositories.ts'

/** The rules of team and person. Above several repositories, agents look for what these say only when they are told to. */
export function rulesFor({ rules, environment }: Pick<ExecutionOrder, 'rules' | 'environment'>): string | null {
  if (environment.repos.length < 2) return rules
  const directories = environment.repos.map((repository) => `- ${repositoryPath(repository)}`)
  const hint = `There are several repositories here. Before you work in one, read the AGENTS.md at its top, where it has one:\n${directories.join('\n')}\n`
  return rules === null ? hint : `${rules}\n${hint}`
}
