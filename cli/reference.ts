// Writes the reference section of docs/cli.md from the commands' own help: bin/node cli/reference.ts
import { readFileSync, writeFileSync } from 'node:fs'
import type { Command } from 'commander'
import { buildProgram, exitCodesHelp } from './program.ts'

export const page = new URL('../docs/cli.md', import.meta.url)

const BEGIN = '<!-- begin: made by cli/reference.ts -->'
const END = '<!-- end -->'

/** The page with its reference section as the commands are now. */
export function withReference(text: string): string {
  const begin = text.indexOf(BEGIN)
  const end = text.indexOf(END)
  if (begin < 0 || end < begin) throw new Error(`${page.pathname} lacks the marks of its reference section`)
  return `${text.slice(0, begin + BEGIN.length)}\n\n${reference()}\n${text.slice(end)}`
}

function reference(): string {
  const program = buildProgram([], () => undefined)
  const withAllBelow = (command: Command): Command[] => [command, ...command.commands.flatMap(withAllBelow)]
  const commands = program.commands.flatMap(withAllBelow)
  return [
    ...commands
      .filter((command) => command.name() !== 'help')
      .map((command) => section(fullName(command), helpOf(command))),
    section('Exit codes', exitCodesHelp().replace('Exit codes:\n', '')),
  ].join('\n')
}

const section = (title: string, text: string) => `### ${title}\n\n\`\`\`text\n${text.trimEnd()}\n\`\`\`\n`

/** As wide as the page's own lines, whatever the terminal is; with the examples that follow it. */
function helpOf(command: Command): string {
  const parts: string[] = []
  command
    .configureHelp({ helpWidth: 110 })
    .configureOutput({ writeOut: (part) => parts.push(part) })
    .outputHelp()
  return parts.join('')
}

function fullName(command: Command): string {
  return command.parent ? `${fullName(command.parent)} ${command.name()}` : command.name()
}

if (import.meta.main) writeFileSync(page, withReference(readFileSync(page, 'utf8')))
