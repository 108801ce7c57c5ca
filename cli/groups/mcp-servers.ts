// `ambient mcp-servers` and what is below it: the commands and their options. Each loads its own code when it is called.
import type { Command } from 'commander'
import type { ImportOptions, McpServerOptions } from '../commands/mcp-servers.ts'
import { json, list, whole } from '../options.ts'

const SERVER = 'name or uid of the server'

export function addMcpServers(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/mcp-servers.ts')
  const servers = program
    .command('mcp-servers')
    .summary('store servers of tools, for the agents of runs')
    .description(
      'List the stored servers of the Model Context Protocol. `ambient run --mcp <name>` gives one to the agent of a run.',
    )
    .addOption(json('the servers as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).mcpServers(options)))
  servers
    .command('list')
    .description('The same as `ambient mcp-servers`.')
    .addOption(json('the servers as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).mcpServers(command.optsWithGlobals())))
  servers
    .command('show')
    .description('Show a server. Its values are shown as far as they are names of secrets.')
    .argument('<server>', SERVER)
    .addOption(json('the server as the API serves it'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).show(given, command.optsWithGlobals())),
    )
  withConfig(
    servers
      .command('create')
      .description('Store a server: a command that is started in the sandbox, or a URL.')
      .argument('<name>', 'as agents know it; it becomes part of the names of its tools'),
  ).action(async (name: string, _: unknown, command: Command) =>
    exit(await (await load()).create(name, command.optsWithGlobals<McpServerOptions>())),
  )
  withConfig(
    servers
      .command('update')
      .description('Change a server. What no option names stays as it is. Runs that have begun keep their copies.')
      .argument('<server>', SERVER),
  )
    .option('--name <name>', 'its new name')
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).update(given, command.optsWithGlobals<McpServerOptions>())),
    )
  servers
    .command('delete')
    .description('Delete a server. Runs that have begun keep their copies.')
    .argument('<server>', SERVER)
    .action(async (given: string) => exit(await (await load()).remove(given)))
  servers
    .command('import')
    .description(
      'Store the servers of a file that another program keeps: `.mcp.json`, `mcp.json` of VS Code, settings of Claude, Gemini CLI or Cursor.',
    )
    .argument('[file]', 'the file; `-` reads it from stdin', '.mcp.json')
    .option('--replace', 'replace those that there are by the same name; unset: they are left as they are')
    .addOption(json('the servers that are stored, as the API serves them'))
    .action(async (file: string, _: unknown, command: Command) =>
      exit(await (await load()).importFile(file, command.optsWithGlobals<ImportOptions>())),
    )
}

const withConfig = (command: Command): Command =>
  command
    .option('--description <text>', 'what it is for')
    .option('--url <url>', 'where it is reached')
    .option('--sse', 'it speaks the older protocol, with an event stream')
    .addOption(
      list(
        '--header <name=value>',
        `header of each request; a secret is named by \${NAME} in single quotes (repeatable)`,
      ),
    )
    .option('--command <program>', 'program that is started in the sandbox')
    .addOption(list('--arg <argument>', 'argument of the program (repeatable)'))
    .addOption(
      list('-e, --env <name=value>', 'variable of the program; `NAME` alone takes the value from here (repeatable)'),
    )
    .option('--required', 'runs fail where it does not start')
    .option('--no-required', 'runs go on without it where it does not start (default)')
    .option('--start-seconds <seconds>', 'how long it may take to start and tell its tools', whole(1, 600))
    .addOption(json('the server as the API serves it'))
