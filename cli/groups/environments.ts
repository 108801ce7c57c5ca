// `ambient environments` and what is below it: the commands and their options. Each loads its own code when it is called.
import { type Command, InvalidArgumentError } from 'commander'
import type { BuildOptions, BuildsOptions, LogOptions } from '../commands/builds.ts'
import { json, list, positive, whole } from '../options.ts'

const ENVIRONMENT = 'name or uid of the environment'
const BUILD = 'id of the build, or its first 4 characters or more'

export function addEnvironments(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/environments.ts')
  const loadBuilds = () => import('../commands/builds.ts')
  const environments = program
    .command('environments')
    .summary('store environments, and have them built ahead of their runs')
    .description(
      'List the stored environments: where runs work, under a name. `ambient run --environment <name>` works in one.',
    )
    .addOption(json('the environments as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).environments(options)))
  environments
    .command('list')
    .description('The same as `ambient environments`.')
    .addOption(json('the environments as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).environments(command.optsWithGlobals())))
  environments
    .command('show')
    .description('Show an environment, and its newest build on each host.')
    .argument('<environment>', ENVIRONMENT)
    .addOption(json('the environment as the API serves it'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).show(given, command.optsWithGlobals())),
    )
  withConfig(
    environments
      .command('create')
      .description('Store an environment. The hosts build it at once.')
      .argument('[name]', 'its name; unset: the one in the file'),
  ).action(async (name: string | undefined, _: unknown, command: Command) =>
    exit(await (await load()).create(name, command.optsWithGlobals())),
  )
  withConfig(
    environments
      .command('update')
      .description('Change an environment. What no option names stays as it is; a file takes the place of everything.')
      .argument('<environment>', ENVIRONMENT),
  )
    .option('--name <name>', 'its new name')
    .addOption(list('--unset-env <name>', 'variable that it is no longer to have (repeatable)'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).update(given, command.optsWithGlobals())),
    )
  environments
    .command('delete')
    .description('Delete an environment. Runs that work in it have their own copy, and go on.')
    .argument('<environment>', ENVIRONMENT)
    .action(async (given: string) => exit(await (await load()).remove(given)))
  environments
    .command('build')
    .description('Have an environment built now. A build that goes on already is left to go on.')
    .argument('<environment>', ENVIRONMENT)
    .option('--host <id>', 'the only host that builds; unset: every one that its runs may come to')
    .option('--force', 'build anew even where the same has been built')
    .option('--push', 'say that it is for a push: for hooks of a repository')
    .option('--follow', 'show the log, up to the end')
    .addOption(json('JSON lines: each build, and with --follow each line and the build as it ended'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await loadBuilds()).build(given, command.optsWithGlobals<BuildOptions>())),
    )
  environments
    .command('builds')
    .description('List the builds of an environment, the newest first.')
    .argument('<environment>', ENVIRONMENT)
    .option('-n, --limit <number>', 'how many', whole(1, 500), 20)
    .addOption(json('the builds as the API serves them'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await loadBuilds()).builds(given, command.optsWithGlobals<BuildsOptions>())),
    )
  environments
    .command('log')
    .description('Show the log of a build, and how it ended.')
    .argument('<environment>', ENVIRONMENT)
    .argument('[build]', `${BUILD}; unset: the newest one`)
    .option('-f, --follow', 'go on with what comes, up to the end')
    .addOption(json('JSON lines: each line, and the build'))
    .action(async (given: string, build: string | undefined, _: unknown, command: Command) =>
      exit(await (await loadBuilds()).log(given, build, command.optsWithGlobals<LogOptions>())),
    )
  environments
    .command('cancel')
    .description('Cancel a build.')
    .argument('<environment>', ENVIRONMENT)
    .argument('[build]', `${BUILD}; unset: all that go on`)
    .addOption(json('JSON lines: each build'))
    .action(async (given: string, build: string | undefined, _: unknown, command: Command) =>
      exit(await (await loadBuilds()).cancel(given, build, command.optsWithGlobals())),
    )
}

/** The options that say what an environment is. */
const withConfig = (command: Command): Command =>
  command
    .option('-f, --file <path>', 'JSON file with the whole environment; `-` reads it from stdin')
    .option('--description <text>', 'what it is for')
    .addOption(list('-r, --repo <path|url>', 'repository, with `#ref` where wanted (repeatable)'))
    .option('--image <image>', 'container image')
    .addOption(list('-s, --setup <command>', 'shell command that sets it up (repeatable)'))
    .addOption(
      list(
        '-e, --env <name=value>',
        'variable for set-up and agent; `NAME` alone takes the value from here (repeatable)',
      ),
    )
    .addOption(list('--allow-host <host>', 'the only hosts that its runs may reach (repeatable)'))
    .option('--devcontainer', 'honour a devcontainer.json in the repositories (default)')
    .option('--no-devcontainer', 'leave it without effect')
    .option('--prepare', 'build it ahead of its runs (default)')
    .option('--no-prepare', 'have every run set itself up')
    .option('--wait', 'a run that finds nothing built waits for the build')
    .option('--no-wait', 'a run that finds nothing built sets itself up (default)')
    .option('--rebuild-hours <hours>', 'build again what is older and was used since; 0: never (default: 24)', hours)
    .option(
      '--run-limit <number>',
      'runs of it that are at work at once; 0: as many as there is room for',
      whole(0, 1_000_000),
    )
    .option('--max-turn <minutes>', 'longest time one turn may take', whole(1, 10_080))
    .option('--max-run <minutes>', 'longest time all turns of an execution may take together', whole(1, 100_000))
    .option('--max-transcript <MiB>', 'largest transcript of a run', whole(1, 1_000_000))
    .option('--max-disk <GiB>', 'most of the disk that a run may take', positive)
    .option('--idle <minutes>', 'how long sandboxes are kept after the work is done', whole(0, 60))
    .addOption(json('the environment as the API serves it'))

function hours(text: string): number {
  const value = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || value > 8_760) throw new InvalidArgumentError('A number from 0 to 8760.')
  return value
}
