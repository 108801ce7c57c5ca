// `ambient agents`, `ambient agents install`: the agents' programs on this machine.
import type { AcpAgent } from '../../agents/agent.ts'
import { agents as registry } from '../../agents/index.ts'
import { findInstalled, installAgent } from '../../agents/install.ts'
import { dataPaths, loadConfig, typed } from '../../config.ts'
import { RunFailureError } from '../../domain/failure.ts'
import type { Harnesses } from '../../domain/run.ts'
import { defaultAgent } from '../../runs/harness.ts'
import { connect } from '../connect.ts'
import { CliError, type ExitCode, exitCodes, usageError } from '../exit.ts'
import { createScreen, type Screen } from '../screen.ts'

export interface AgentsOptions {
  json?: boolean
}

export async function agents(options: AgentsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const config = loadConfig()
  const { agents: directory } = dataPaths(config)
  const server = await askServer()
  const standard = server?.default_harness ?? defaultAgent(config)
  const demos = new Set(server?.harnesses.filter(({ demo }) => demo).map(({ type }) => type))
  const rows = await Promise.all(
    Object.values(registry).map(async (agent) => ({
      name: agent.name,
      title: agent.title,
      version: agent.protocol === 'acp' ? versionOf(agent) : null,
      provider: agent.protocol === 'acp' ? agent.provider : null,
      installed: agent.protocol === 'acp' ? await findInstalled(agent, directory) : null,
      default: agent.name === standard,
      demo: server === null ? null : demos.has(agent.name),
    })),
  )
  if (options.json) {
    screen.write(`${JSON.stringify({ agents: rows, default_of: server === null ? 'settings' : 'server' })}\n`)
    return exitCodes.succeeded
  }
  const { colours } = screen.style
  const cells = rows.map((row) => [row.name, row.title, row.version ?? '', standing(row)])
  const widths = [0, 1, 2].map((index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)))
  for (const [index, row] of cells.entries()) {
    const text = row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
    const told = rows[index]
    const marks = [told?.default ? colours.green('default') : null, told?.demo ? colours.dim('demo: no key') : null]
    screen.write([text.trimEnd(), ...marks.filter((mark) => mark !== null)].join('  ').concat('\n'))
  }
  if (server === null)
    screen.note('No server answers: the default is that of the settings here, and the server’s may be another one.')
  screen.note(`A run installs its agent when it is missing. Ahead of time: ${typed} agents install <name>`)
  return exitCodes.succeeded
}

/** What the server makes of the agents: its settings count, not those of this shell. Null where none answers. */
async function askServer(): Promise<Harnesses | null> {
  try {
    return await connect().harnesses()
  } catch (error) {
    if (
      error instanceof CliError &&
      [exitCodes.unreachable, exitCodes.unauthorised].some((code) => code === error.exitCode)
    )
      return null
    throw error
  }
}

function standing(row: { name: string; installed: string | null }): string {
  if (row.name === 'command') return `any program: ${typed} run --agent command -- …`
  return row.installed ? 'installed' : 'not installed'
}

/** The first package is the one that is the agent; a further one is what it drives. */
const versionOf = (agent: AcpAgent): string => Object.values(agent.packages)[0] ?? ''

export async function install(names: readonly string[], options: AgentsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const { agents: directory } = dataPaths(loadConfig())
  for (const agent of chosen(names)) {
    const path = await installOne(agent, directory, screen, options.json === true)
    if (options.json)
      screen.write(`${JSON.stringify({ name: agent.name, version: versionOf(agent), directory: path })}\n`)
    else screen.write(`${screen.style.colours.green('✓')} ${agent.title} ${versionOf(agent)} in ${path}\n`)
  }
  return exitCodes.succeeded
}

async function installOne(agent: AcpAgent, directory: string, screen: Screen, quiet: boolean): Promise<string> {
  try {
    return await installAgent(agent, {
      directory,
      onProgress: (text) => {
        if (!quiet) screen.note(text)
      },
    })
  } catch (error) {
    if (!(error instanceof RunFailureError)) throw error
    const { message, logTail, nextStep } = error.failure
    throw new CliError(exitCodes.error, logTail ? `${message}\n${logTail}` : message, {
      hint: nextStep,
      problem: { title: message, ...(logTail && { detail: logTail }), error: error.failure.code, retryable: true },
      cause: error,
    })
  }
}

function chosen(names: readonly string[]): AcpAgent[] {
  const installable = Object.values(registry).filter((agent): agent is AcpAgent => agent.protocol === 'acp')
  if (names.includes('all')) return installable
  return names.map((name) => {
    const agent = installable.find((candidate) => candidate.name === name)
    if (!agent)
      throw usageError(
        `There is no agent ${name} to install.`,
        `One of: ${installable.map((each) => each.name).join(', ')}, all`,
      )
    return agent
  })
}
