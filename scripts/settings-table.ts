// Writes the table of all settings in docs/settings.md: `bin/node scripts/settings-table.ts`.
import { readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { root, Settings } from '../config.ts'

export const settingsPage = join(root, 'docs', 'settings.md')

const BEGIN = '<!-- settings: made by scripts/settings-table.ts from config.ts -->'
const END = '<!-- /settings -->'

export function settingsTable(): string {
  const rows = Object.entries(Settings.shape).map(([name, schema]) => [
    `\`${name}\``,
    shown(schema.safeParse(undefined)),
    (schema.description ?? '').replaceAll('|', '\\|'),
  ])
  const table = [['Setting', 'Default', 'Meaning'], ...rows]
  // In columns, as the formatter wants it.
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  const line = (cells: string[], fill = ' ') =>
    `| ${cells.map((text, column) => text.padEnd(widths[column] ?? 0, fill)).join(' | ')} |`
  const [head = [], ...body] = table.map((row) => line(row))
  return [head, line(['', '', ''], '-'), ...body].join('\n')
}

/** The page with its table as the code has it now. */
export function withTable(page: string): string {
  const before = page.split(BEGIN)
  const after = page.split(END)
  if (before.length !== 2 || after.length !== 2) throw new Error(`${settingsPage} has lost its markers`)
  return `${before[0]}${BEGIN}\n\n${settingsTable()}\n\n${END}${after[1]}`
}

function shown(parsed: { success: boolean; data?: unknown }): string {
  if (!parsed.success || parsed.data === undefined) return ''
  const text = String(parsed.data)
  if (text === '') return ''
  return `\`${text.startsWith(root) ? relative(root, text) : text}\``
}

if (import.meta.main) writeFileSync(settingsPage, withTable(readFileSync(settingsPage, 'utf8')))
