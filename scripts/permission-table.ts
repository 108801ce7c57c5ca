// Writes the table of all actions in docs/permissions.md: `bin/node scripts/permission-table.ts`.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../config.ts'
import { type Permission, permissions, roles } from '../domain/permission.ts'

export const permissionsPage = join(root, 'docs', 'permissions.md')

const BEGIN = '<!-- actions: made by scripts/permission-table.ts from domain/permission.ts -->'
const END = '<!-- /actions -->'

export function permissionTable(): string {
  const rows = Object.entries(permissions).map(([action, permission]) => [
    `\`${action}\``,
    `to ${permission.means}`,
    whoOf(permission),
    `\`${permission.scope}\``,
  ])
  const table = [['Action', 'What it is', 'Who', 'Scope'], ...rows]
  // In columns, as the formatter wants it.
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  const line = (cells: string[], fill = ' ') =>
    `| ${cells.map((text, column) => text.padEnd(widths[column] ?? 0, fill)).join(' | ')} |`
  const [head = [], ...body] = table.map((row) => line(row))
  return [head, line(['', '', '', ''], '-'), ...body].join('\n')
}

function whoOf({ role, owner, shared, only }: Permission): string {
  if (only === 'operator') return 'the operator'
  const able = roles.slice(0, roles.indexOf(role) + 1)
  const words = [
    able.length === roles.length ? 'everybody in the team' : able.map((one) => `${one}s`).join(', '),
    ...(owner ? ['who made it'] : []),
    ...(shared ? [`with whom it is shared (${shared})`] : []),
  ]
  return `${words.join('; ')}${only === 'people' ? '; no service account' : ''}`
}

/** The page with its table as the code has it now. */
export function withTable(page: string): string {
  const before = page.split(BEGIN)
  const after = page.split(END)
  if (before.length !== 2 || after.length !== 2) throw new Error(`${permissionsPage} has lost its markers`)
  return `${before[0]}${BEGIN}\n\n${permissionTable()}\n\n${END}${after[1]}`
}

if (import.meta.main) writeFileSync(permissionsPage, withTable(readFileSync(permissionsPage, 'utf8')))
