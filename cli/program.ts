// The commands and their options, as `--help` and docs/cli.md tell them. Each loads its own code when it is called.
import { Command, InvalidArgumentError, Option } from 'commander'
import type { AgentName } from '../domain/harness.ts'
import { nearest } from '../domain/nearest.ts'
import { runStates } from '../domain/state.ts'
import packageJson from '../package.json' with { type: 'json' }
import type { HostOptions } from '../workers/host.ts'
import type { AgentsOptions } from './commands/agents.ts'
import type { ApplyOptions } from './commands/apply.ts'
import type { DiffOptions } from './commands/diff.ts'
import type { LogsOptions } from './commands/logs.ts'
import type { AnswerOptions, CancelOptions, SendOptions } from './commands/messages.ts'
import type { RunOptions } from './commands/run.ts'
import type { RunsOptions } from './commands/runs.ts'
import type { WorkersOptions } from './commands/workers.ts'
import { exitCodeHelp, usageError } from './exit.ts'
import { addAccounts } from './groups/accounts.ts'
import { addArtifacts } from './groups/artifacts.ts'
import { addAudit } from './groups/audit.ts'
import { addConfiguration } from './groups/configuration.ts'
import { addEnvironments } from './groups/environments.ts'
import { addForks } from './groups/forks.ts'
import { addGitCredentials } from './groups/git-credentials.ts'
import { addMcpServers } from './groups/mcp-servers.ts'
import { addModels } from './groups/models.ts'
import { addMoney } from './groups/money.ts'
import { addSchedules } from './groups/schedules.ts'
import { addSecrets, addVault } from './groups/secrets.ts'
import { addServiceAccounts } from './groups/service-accounts.ts'
import { addSkills } from './groups/skills.ts'
import { addStats } from './groups/stats.ts'
import { addWebhooks } from './groups/webhooks.ts'
import { following, json, list, permission, positive, RUN, whole } from './options.ts'

// Not read from the schema itself: that would load zod, and half of the time of `--help` with it.
const agentNames = Object.keys({
  claude: 1,
  codex: 1,
  gemini: 1,
  opencode: 1,
  qwen: 1,
  command: 1,
} satisfies Record<AgentName, 1>)

/** Commands that are processes of a server. */
export const serverCommands: readonly string[] = ['start', 'server', 'worker', 'host', 'gateway']

/** `rest` is what stood after `--`; `exit` takes the exit code of the command that was called. */
export function buildProgram(rest: string[], exit: (code: number) => void): Command {
  const program = new Command('ambient')
    .description('The durable, self-hosted orchestrator for background coding agents.')
    .version(packageJson.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .addHelpCommand(
      new Command('help').argument('[command]').description('print help for a command').helpGroup('Getting started:'),
    )
    .addHelpText('after', () => `\n${settingsHelp}\n\n${exitCodesHelp()}`)
    .showSuggestionAfterError()

  program.commandsGroup('Runs:')
  addRun(program, rest, exit)
  addForks(program, agentNames, exit)
  addRuns(program, exit)
  addTranscript(program, exit)
  addMessages(program, exit)
  addResults(program, exit)
  addArtifacts(program, exit)
  addStats(program, exit)
  program.commandsGroup('Getting started:')
  addStart(program, exit)
  program.commandsGroup('Schedules and webhooks:')
  addSchedules(program, agentNames, rest, exit)
  addWebhooks(program, exit)
  program.commandsGroup('What runs work with:')
  addEnvironments(program, exit)
  addConfiguration(program, agentNames, exit)
  addSkills(program, exit)
  addMcpServers(program, exit)
  addSecrets(program, exit)
  addGitCredentials(program, exit)
  program.commandsGroup('Models and money:')
  addModels(program, exit)
  addMoney(program, exit)
  program.commandsGroup('People and keys:')
  addAccounts(program, exit)
  addServiceAccounts(program, agentNames, exit)
  addAudit(program, exit)
  program.commandsGroup('Hosts of a server:')
  addWorkers(program, exit)
  addVault(program, exit)
  program.commandsGroup('Parts of a server (`ambient start` starts them all):')
  addParts(program)
  if (rest.length > 0) refuseRest(program)
  for (const command of program.commands) if (command.commands.length > 0) suggestBelow(command)
  return program
}

/** For commands that do something by themselves and have others below them: a word that is none of those is a misspelled one. */
function suggestBelow(command: Command): void {
  command.allowExcessArguments().hook('preAction', (_, called) => {
    const [word] = called.args
    if (called !== command || word === undefined) return
    const names = command.commands.map((below) => below.name())
    const meant = nearest(word, names)
    throw usageError(
      `There is no ${command.name()} ${word}.`,
      meant ? `Did you mean ${command.name()} ${meant}?` : `There are: ${names.join(', ')}`,
    )
  })
}

/** Only what starts runs has a use for what stands after two dashes. */
function refuseRest(program: Command): void {
  program.hook('preAction', (_, called) => {
    const isOfSchedule = called.parent?.name() === 'schedules' && ['create', 'update'].includes(called.name())
    if (called.name() !== 'run' && !isOfSchedule)
      throw usageError('Two dashes and what follows them belong to: ambient run --agent command -- …')
  })
}

function addRun(program: Command, rest: string[], exit: (code: number) => void): void {
  following(
    program
      .command('run')
      .summary('start a run, and follow it')
      .description(
        'Start a run: an agent works on the prompt in a sandbox. On a terminal the run is followed to its end.',
      )
      .argument('[prompt]', 'the task; `-`, or none with something piped in, reads it from stdin')
      .option('-f, --file <path>', 'read the prompt from a file')
      .addOption(
        list(
          '-r, --repo <path|url>',
          'repository to work on: a path on this machine, or a git URL, each with `#ref` where wanted (repeatable)',
        ),
      )
      .option('--ref <ref>', 'branch, tag or commit of the one --repo')
      .option('--depth <commits>', 'clone only so many of the newest commits', whole(1, 1_000_000))
      .option(
        '--push-branch <name>',
        'the agent works on a branch of this name, and its commits are pushed to the remote at the end; never by force',
      )
      .option(
        '--pull-request',
        'what is pushed gets a draft pull request, on GitHub or GitLab; without --push-branch its branch is ambient/<run>',
      )
      .option(
        '--author <identity>',
        'in whose name the agent commits, as "Name <address>"; unset: as git has it for you here',
      )
      .option('--no-author', 'the agent commits as Ambient')
      .addOption(
        new Option('-a, --agent <name>', 'agent that does the work; unset: the server’s default').choices(agentNames),
      )
      .option('-m, --model <id>', 'model of the agent')
      .option('--reasoning <level>', 'reasoning level of the model')
      .option('--environment <name|uid>', 'stored environment to work in, with its repositories and set-up')
      .option('--image <image>', 'container image of the sandbox')
      .addOption(
        list(
          '--allow-host <host>',
          'the only hosts that the sandbox reaches: `registry.example.org`, `*.example.org`, `host:port` (repeatable)',
        ),
      )
      .addOption(
        list('-s, --setup <command>', 'shell command to run in the workspace before the agent starts (repeatable)'),
      )
      .addOption(
        list(
          '-e, --env <name=value>',
          'variable for set-up and agent; `NAME` alone takes the value from here (repeatable)',
        ),
      )
      .option('--no-devcontainer', 'leave the devcontainer.json of the repositories without effect')
      .addOption(permission())
      .option('-t, --title <title>', 'title of the run; unset: the first line of the prompt')
      .option('--idle <minutes>', 'how long the sandbox is kept after the work is done', whole(0, 60))
      .option('--max-turn <minutes>', 'longest time one turn may take', whole(1, 10_080))
      .option('--max-run <minutes>', 'longest time all turns of an execution may take together', whole(1, 100_000))
      .option('--max-transcript <MiB>', 'largest transcript of the run', whole(1, 1_000_000))
      .option('--max-disk <GiB>', 'most of the disk that the run may take', positive)
      .option('--budget <usd>', 'what models and compute of the run may cost; then it is paused', positive)
      .option('--tree-budget <usd>', 'the same for the run and all that it begins', positive)
      .addOption(
        list(
          '--mcp <name|uid|file>',
          'server of tools for the agent: a stored one, or a file with some, such as ./.mcp.json (repeatable)',
        ),
      )
      .addOption(
        list(
          '--secret <name>',
          'secret that the run gets; unset: all of the team, the environment and its service account (repeatable)',
        ).conflicts('secrets'),
      )
      .option('--no-secrets', 'give it none')
      .option('--pool <name>', 'pool of hosts that may take the run')
      .option('--priority <number>', 'where runs wait in line, higher goes first (default: 0)', whole(-100, 100))
      .option('--concurrency <group:limit>', 'wait until fewer than so many runs of the group are at work')
      .addOption(
        list(
          '--skill <name>',
          'skill to work by: `owner/repo:path`, `repo:name`, or its name; the prompt may be left out then. Further ones are at hand for the agent (repeatable)',
        ),
      )
      .option('--base-prompt <text>', 'instructions that come before the prompt')
      .option('--profile <name|uid>', 'agent profile, for what no other option says')
      .option('--saved-prompt <name|uid>', 'saved prompt that is the task')
      .addOption(list('--arg <name=value>', 'argument of the saved prompt (repeatable)'))
      .addOption(list('--metadata <key=value>', 'label of the run (repeatable)'))
      .option('--personal', 'a run that nobody but you and the admins of your team see')
      .option('--as <name|uid>', 'service account that carries it out, and whose configuration holds'),
  )
    .addHelpText('after', runExamples)
    .action(async (prompt: string | undefined, options: RunOptions) => {
      exit(await (await import('./commands/run.ts')).run(prompt, options, rest))
    })
}

function addRuns(program: Command, exit: (code: number) => void): void {
  const runs = program
    .command('runs')
    .summary('list runs')
    .description('List runs, the latest first.')
    .addOption(
      new Option('--state <state>', `only runs in this state: ${runStates.join(', ')} (repeatable)`).argParser(state),
    )
    .option('-q, --search <text>', 'only runs with this text in title or prompt')
    .option('--environment <name|uid>', 'only runs in this stored environment')
    .option('-n, --limit <number>', 'how many', whole(1, 500), 20)
    .option('--cursor <cursor>', 'go on where the page before ended')
    .addOption(json('the page as the API serves it'))
    .action(async (options: RunsOptions) => exit(await (await import('./commands/runs.ts')).runs(options)))
  runs
    .command('show')
    .description('Show one run: its configuration, how it stands, and what to do next.')
    .argument('<id>', RUN)
    .addOption(json('the run as the API serves it'))
    .action(async (id: string, _: unknown, command: Command) => {
      exit(await (await import('./commands/runs.ts')).show(id, command.optsWithGlobals()))
    })
}

function state(text: string, former: string[] = []): string[] {
  if (!(runStates as readonly string[]).includes(text.toUpperCase())) {
    throw new InvalidArgumentError(`One of: ${runStates.join(', ')}.`)
  }
  return [...former, text]
}

function addTranscript(program: Command, exit: (code: number) => void): void {
  program
    .command('logs')
    .summary('show the transcript of a run')
    .description('Show the transcript of a run.')
    .argument('<id>', RUN)
    .option('-f, --follow', 'go on with what comes, up to the end of the run')
    .option('--after <sequence>', 'only events after this one', whole(0, Number.MAX_SAFE_INTEGER), 0)
    .addOption(json('JSON lines: each event; with --follow also the run before and after'))
    .action(async (id: string, options: LogsOptions) =>
      exit(await (await import('./commands/logs.ts')).logs(id, options)),
    )
}

function addMessages(program: Command, exit: (code: number) => void): void {
  program
    .command('send')
    .summary('send a message to a run')
    .description('Send a further message to a run. A run that has ended begins again where it left off.')
    .argument('<id>', RUN)
    .argument('[message]', 'the message; `-`, or none with something piped in, reads it from stdin')
    .option('-f, --file <path>', 'read the message from a file')
    .option('-i, --interrupt', 'interrupt the present turn instead of waiting for its end')
    .option('--follow', 'show what comes of it')
    .addOption(json('JSON lines: the run, and with --follow each event and the run as it ended'))
    .action(async (id: string, message: string | undefined, options: SendOptions) => {
      exit(await (await import('./commands/messages.ts')).send(id, message, options))
    })
  program
    .command('answer')
    .summary('answer what the agent of a run asks')
    .description('Answer what the agent of a run asks. Without an answer, the options are shown.')
    .argument('<id>', RUN)
    .argument('[option]', '`allow`, `deny`, the id of one of the options, or words where the question takes them')
    .option('--question <id>', 'which question, where there are several')
    .option('--follow', 'show what comes of it')
    .addOption(json('JSON lines: what was answered, and with --follow each event and the run as it ended'))
    .action(async (id: string, option: string | undefined, options: AnswerOptions) => {
      exit(await (await import('./commands/messages.ts')).answer(id, option, options))
    })
  program
    .command('cancel')
    .summary('cancel a run')
    .description('Cancel a run. What the agent has done until then is kept.')
    .argument('<id>', RUN)
    .option('--children', 'cancel the runs that it began as well, and those that they began')
    .addOption(json('what was asked for'))
    .action(async (id: string, options: CancelOptions) =>
      exit(await (await import('./commands/messages.ts')).cancel(id, options)),
    )
}

function addResults(program: Command, exit: (code: number) => void): void {
  program
    .command('diff')
    .summary('show what a run has changed')
    .description('Show what a run has changed, as a git patch.')
    .argument('<id>', RUN)
    .option('--repository <path>', 'only this repository of the run, by its path in the workspace')
    .option('--stat', 'only the files, with the numbers of lines')
    .addOption(json('the repositories, with numbers and commits'))
    .action(async (id: string, options: DiffOptions) =>
      exit(await (await import('./commands/diff.ts')).diff(id, options)),
    )
  program
    .command('apply')
    .summary('bring the changes of a run home')
    .description('Bring the changes of a run to the local repository as a branch. What is checked out is not touched.')
    .argument('<id>', RUN)
    .option('-b, --branch [name]', 'name of the branch (default: `ambient/<id>`)')
    .option(
      '--into <path>',
      'repository to bring it to; unset: the one the run was made from, or the current directory’s',
    )
    .option('--force', 'replace a branch that has other commits')
    .option('--patch [file]', 'write the changes to a file, or print them, instead')
    .addOption(json('JSON lines: each repository, with its branch and commit'))
    .action(async (id: string, options: ApplyOptions) =>
      exit(await (await import('./commands/apply.ts')).apply(id, options)),
    )
}

function addStart(program: Command, exit: (code: number) => void): void {
  program
    .command('demo')
    .summary('see the whole way of a run, without any key')
    .description(
      'The tour: makes a small repository, has an agent work on it, brings the work home, and sends a second message. Without a model key, a scripted model plays the model’s part.',
    )
    .action(async () => exit(await (await import('./commands/demo.ts')).demo()))
  const agents = program
    .command('agents')
    .summary('list the agents of this machine')
    .description('List the agents: which are installed on this machine, and which one is the default.')
    .addOption(json('the agents'))
    .action(async (options: AgentsOptions) => exit(await (await import('./commands/agents.ts')).agents(options)))
  agents
    .command('install')
    .description('Install agents on this machine. A run does it by itself when it needs one.')
    .argument('<name...>', `one or more of ${agentNames.filter((name) => name !== 'command').join(', ')}, or \`all\``)
    .addOption(json('JSON lines: each agent, with its directory'))
    .action(async (names: string[], _: unknown, command: Command) => {
      exit(await (await import('./commands/agents.ts')).install(names, command.optsWithGlobals()))
    })
  program
    .command('start')
    .summary('start a whole server on this machine')
    .description(
      'Start everything on this machine: database, Temporal, server, gateway, worker and host. The same as `npm start`.',
    )
    .action(async () => (await import('../workers/start/main.ts')).main())
  program
    .command('stop')
    .summary('stop what `ambient start` has started')
    .description(
      'Stop what `ambient start` or `npm start` has started on this machine, from another terminal. Agents at work go on; the next start takes them up again.',
    )
    .action(async () => exit(await (await import('./commands/stop.ts')).stop()))
}

function addWorkers(program: Command, exit: (code: number) => void): void {
  const load = () => import('./commands/workers.ts')
  const WORKER = 'id of the host, or as much of its beginning as tells it from others'
  const workers = program
    .command('workers')
    .summary('list hosts, drain them, and make keys for them')
    .description('List the hosts that take runs: pool, state, how much they hold, when they were seen last.')
    .addOption(json('the hosts as the API serves them'))
    .action(async (options: WorkersOptions) => exit(await (await load()).workers(options)))
  workers
    .command('drain')
    .description('Have a host take no new run. It finishes what it holds; then it is drained, and may be stopped.')
    .argument('<host>', WORKER)
    .option('--wait', 'come back when it is drained')
    .addOption(json('the host as the API serves it'))
    .action(async (id: string, _: unknown, command: Command) =>
      exit(await (await load()).drain(id, command.optsWithGlobals())),
    )
  workers
    .command('undrain')
    .description('Have a host take new runs again.')
    .argument('<host>', WORKER)
    .addOption(json('the host as the API serves it'))
    .action(async (id: string, _: unknown, command: Command) =>
      exit(await (await load()).undrain(id, command.optsWithGlobals())),
    )
  workers
    .command('remove')
    .description('Forget a host that is gone for good. Another machine may then report under its id.')
    .argument('<host>', WORKER)
    .action(async (id: string) => exit(await (await load()).remove(id)))
  const keys = workers
    .command('keys')
    .summary('make, list and revoke the keys by which hosts join')
    .description('The keys by which hosts join, beside AMBIENT_WORKER_KEY.')
  keys
    .command('create')
    .description('Make a key. It is printed once, and kept as a hash.')
    .argument('<name>', 'what it is for, such as the name of a machine')
    .option('--pool <name>', 'the only pool that hosts with this key may be of')
    .addOption(json('the key as the API serves it'))
    .action(async (name: string, _: unknown, command: Command) =>
      exit(await (await load()).createKey(name, command.optsWithGlobals())),
    )
  keys
    .command('list')
    .description('List the keys that are in force.')
    .addOption(json('the keys as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).listKeys(command.optsWithGlobals())))
  keys
    .command('revoke')
    .description('Revoke a key. Hosts that have it are refused from then on.')
    .argument('<uid>', 'uid of the key')
    .action(async (uid: string) => exit(await (await load()).revokeKey(uid)))
}

function addParts(program: Command): void {
  const part = (name: string, description: string, load: () => Promise<{ main(): Promise<void> }>) =>
    program
      .command(name)
      .description(description)
      .action(async () => (await load()).main())
  part('server', 'serve the HTTP API', () => import('../workers/server.ts'))
  part('worker', 'carry out the workflows', () => import('../workers/orchestrator.ts'))
  program
    .command('host')
    .summary('hold the sandboxes of this machine')
    .description(
      'Hold the sandboxes of this machine. On a machine of its own it needs AMBIENT_URL, TEMPORAL_ADDRESS and a worker key as AMBIENT_WORKER_KEY; nothing needs to reach it.',
    )
    .option('--pool <name>', 'pool of hosts that it belongs to (default: AMBIENT_POOL)')
    .option('--capacity <number>', 'runs that it holds at once (default: AMBIENT_CAPACITY)')
    .action(async (options: HostOptions) => (await import('../workers/host.ts')).main(options))
  part('gateway', 'pass the agents’ requests on to the models', () => import('../workers/gateway.ts'))
}

const runExamples = `
Examples:
  ambient run "Fix the failing test" --repo . --branch
  ambient run --file task.md --repo https://example.com/team/app.git#main --agent claude
  echo "Write a changelog" | ambient run --repo . --json
  ambient run --repo . --agent command -- make test`

const settingsHelp = `Settings, as environment variables:
  AMBIENT_URL      the server (default: http://127.0.0.1:8420)
  AMBIENT_API_KEY  the key (default: the admin key in the data directory)
  AMBIENT_TEAM     uid of the team, for whoever is in several (default: the first one)
  NO_COLOR         no colours`

export const exitCodesHelp = () =>
  `Exit codes:\n${exitCodeHelp.map(([code, meaning]) => `  ${String(code).padEnd(3)}  ${meaning}`).join('\n')}`
