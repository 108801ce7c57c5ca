// `ambient skills`: the skills that runs can be started with.
import { typed } from '../../config.ts'
import type { SkillList } from '../../domain/configuration/skill.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, duration, oneLine } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface SkillsOptions {
  repo?: string
  refresh?: boolean
  sort?: string
  malformed?: boolean
  json?: boolean
}

export async function skills({ repo, refresh, sort, malformed, json }: SkillsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const list = await connect().skills({
    ...(repo !== undefined && { repo }),
    ...(refresh && { refresh: 'true' }),
    ...(sort !== undefined && { sort_by: sort }),
    ...(malformed && { include_malformed_skills: 'true' }),
  })
  if (json) {
    screen.write(`${JSON.stringify(list)}\n`)
    return exitCodes.succeeded
  }
  if (list.agents.length === 0)
    screen.write(
      `There are no skills. They are folders with a SKILL.md, in .agents/skills or .claude/skills of a repository of a stored environment: ${typed} environments create <name> --repo <url>\n`,
    )
  else screen.write(renderSkills(list, screen.style, Date.now()))
  for (const { environment, repository, reason } of list.unread ?? [])
    screen.note(`! ${[environment.name, repository].filter((part) => part !== null).join(', ')}: ${reason}`)
  return exitCodes.succeeded
}

export function renderSkills({ agents }: SkillList, { colours }: Style, now: number): string {
  const variants = agents.flatMap(({ name, variants: several }) => several.map((variant) => ({ name, ...variant })))
  const rows = variants.map(({ name, id, description, environments, last_run_timestamp: last, error }) => [
    clean(name),
    clean(id),
    clean(environments.map((environment) => environment.name).join(', ')),
    last == null ? 'never' : `${duration(Math.max(0, now - Date.parse(last)), 1)} ago`,
    oneLine(error === undefined ? description : `! ${error}`, 100),
  ])
  return table(['NAME', 'WHERE', 'ENVIRONMENTS', 'LAST USED', 'FOR'], rows, colours.dim, (cell, column, row) =>
    column === 4 && variants[row]?.error !== undefined ? colours.red(cell) : cell,
  )
}
