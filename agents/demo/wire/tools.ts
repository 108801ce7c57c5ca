// Which of an agent's tools runs a command or writes a file, and how it wants its arguments.
import type { Tool } from './request.ts'
import { newId, type ToolCall } from './step.ts'

const shells = ['exec_command', 'shell_command', 'shell', 'bash', 'run_shell_command']
const writers = ['write', 'write_file']

/** The call that runs this command, or null when the agent offers no shell. `description` is a line for people, where the tool takes one. */
export function shellCall(tools: readonly Tool[], command: string, description: string): ToolCall | null {
  const tool = find(tools, shells)
  if (!tool) return scriptedShellCall(tools, command)
  const takes = (name: string) => name in tool.properties
  const key = takes('cmd') ? 'cmd' : 'command'
  const args: Record<string, unknown> = {
    [key]: tool.properties[key]?.type === 'array' ? ['bash', '-lc', command] : command,
  }
  if (takes('description')) args.description = description
  // Codex leaves a command running in the background after 10 s by default; 30 s is the most it takes.
  if (takes('yield_time_ms')) args.yield_time_ms = 30_000
  return { id: newId('call'), name: tool.name, arguments: args }
}

/** Codex gives most of OpenAI's models one tool in free form, `exec`: a JavaScript program that calls the others. */
function scriptedShellCall(tools: readonly Tool[], command: string): ToolCall | null {
  const exec = tools.find((tool) => tool.name === 'exec' && tool.kind === 'freeform')
  if (!exec) return null
  const args = JSON.stringify({ cmd: command, yield_time_ms: 30_000 })
  return { id: newId('call'), name: exec.name, arguments: `text((await tools.exec_command(${args})).output)` }
}

/** The call that writes this file: with the agent's own tool for it, else by its shell, else null. */
export function writeCall(tools: readonly Tool[], path: string, content: string): ToolCall | null {
  const tool = find(tools, writers)
  if (!tool) {
    const command = `printf %s ${quoted(content)} > ${quoted(path)}`
    return shellCall(tools, command, `Write ${path}`)
  }
  const key = ['file_path', 'filePath', 'path'].find((name) => name in tool.properties) ?? 'path'
  return { id: newId('call'), name: tool.name, arguments: { [key]: path, content } }
}

/** The call of a tool that the agent has from a server of its own, by whatever name it goes there; null when it has none. */
export function servedCall(
  tools: readonly Tool[],
  name: string,
  args: Readonly<Record<string, unknown>>,
): ToolCall | null {
  const tool = tools.find((each) => each.name === name) ?? tools.find((each) => each.name.endsWith(`_${name}`))
  if (tool) return { id: newId('call'), name: tool.name, arguments: args }
  const exec = tools.find((each) => each.name === 'exec' && each.kind === 'freeform')
  if (!exec) return null
  const find = `tools[Object.keys(tools).find((each) => each.endsWith('__${name}'))]`
  const program = `text(JSON.stringify(await ${find}(${JSON.stringify(args)})))`
  return { id: newId('call'), name: exec.name, arguments: program }
}

/** A word that a POSIX shell takes literally. */
export const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

function find(tools: readonly Tool[], names: readonly string[]): Tool | undefined {
  return names.flatMap((name) => tools.filter((tool) => tool.name.toLowerCase() === name))[0]
}
