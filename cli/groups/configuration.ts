// `ambient profiles`, `ambient rules` and `ambient prompts`: the commands and their options.
import { type Command, Option } from 'commander'
import type { ProfileOptions, PromptOptions, RuleOptions } from '../commands/shared-items.ts'
import { clear, json, list, permission, positive, whole } from '../options.ts'

type Exit = (code: number) => void
const load = () => import('../commands/shared-items.ts')

export function addConfiguration(program: Command, agentNames: readonly string[], exit: Exit): void {
  addGroup(program, exit, {
    kind: 'profiles',
    word: 'profile',
    summary: 'keep what many runs have in common under a name',
    description: 'List the agent profiles. A run names one with --profile.',
    options: (command) =>
      command
        .option('-f, --file <path>', 'JSON file with the whole profile, as the API takes it; `-` reads it from stdin')
        .option('--description <text>', 'what it is for')
        .addOption(new Option('-a, --agent <name>', 'agent that does the work').choices(agentNames))
        .option('-m, --model <id>', 'model of the agent')
        .option('--reasoning <level>', 'how much the model thinks, as the agent calls it: high')
        .addOption(permission())
        .option('--base-prompt <text>', 'instructions that come before the prompt')
        .option('--environment <name|uid>', 'stored environment that its runs work in')
        .option('--pool <name>', 'pool of hosts that may take its runs')
        .addOption(list('--secret <name>', 'secret that its runs get, and no others (repeatable)').conflicts('secrets'))
        .option('--no-secrets', 'its runs get none')
        .addOption(list('--skill <name>', 'skill that its runs work by (repeatable)'))
        .addOption(
          list(
            '--mcp <name|uid|file>',
            'server of tools for its agents: a stored one, or a file with some, such as ./.mcp.json (repeatable)',
          ),
        )
        .option('--budget <usd>', 'what models and compute of each run may cost; then it is paused', positive)
        .option('--tree-budget <usd>', 'the same for each run and all that it begins', positive)
        .option('--idle <minutes>', 'how long a sandbox is kept after its work', whole(0, 60))
        .option('--max-turn <minutes>', 'longest time of one turn', whole(1, 1_000_000))
        .option('--max-run <minutes>', 'longest time of all turns of an execution', whole(1, 1_000_000))
        .option('--max-transcript <mib>', 'largest transcript', whole(1, 1_000_000))
        .option('--max-disk <gib>', 'most of the disk', positive)
        .option('--default', 'it holds where no other profile is named')
        .option('--no-default', 'it holds only where it is named'),
    clearable: ['secret', 'skill', 'mcp'],
    create: async (name, options: ProfileOptions) => (await load()).createProfile(name, options),
    update: async (given, options: ProfileOptions) => (await load()).updateProfile(given, options),
  })
  addGroup(program, exit, {
    kind: 'rules',
    word: 'rule',
    summary: 'tell every agent something, beside the AGENTS.md of its repository',
    description: 'List the rules, in the order in which agents are given them.',
    options: (command) =>
      command
        .option('-f, --file <path>', 'file with its text; `-` reads it from stdin')
        .option('-t, --text <text>', 'its text')
        .option('--description <text>', 'why it is there')
        .addOption(list('--repo <pattern>', 'only for repositories such as `owner/repo`, `owner/*` (repeatable)'))
        .addOption(list('--environment <name|uid>', 'only for runs in this stored environment (repeatable)'))
        .option('--position <number>', 'its place among the others: the lowest first', whole(-1000, 1000))
        .option('--enable', 'it holds again')
        .option('--disable', 'it holds no more, until it is enabled'),
    clearable: ['repo', 'environment'],
    create: async (name, options: RuleOptions) => (await load()).createRule(name, options),
    update: async (given, options: RuleOptions) => (await load()).updateRule(given, options),
  })
  addGroup(program, exit, {
    kind: 'prompts',
    word: 'saved prompt',
    summary: 'keep tasks that are asked for again and again',
    description: 'List the saved prompts. A run takes one with --saved-prompt, and its arguments with --arg.',
    options: (command) =>
      command
        .option('-f, --file <path>', 'file with its text, in which {{name}} is the place of an argument; `-`: stdin')
        .option('-t, --text <text>', 'its text')
        .option('--description <text>', 'what it is for')
        .addOption(
          list(
            '--argument <name[=value]>',
            'argument, with what stands there where a run gives none; unset: each place of the text has one that every run has to give (repeatable)',
          ),
        ),
    create: async (name, options: PromptOptions) => (await load()).createPrompt(name, options),
    update: async (given, options: PromptOptions) => (await load()).updatePrompt(given, options),
  })
}

interface Group<Options> {
  kind: 'profiles' | 'rules' | 'prompts'
  word: string
  summary: string
  description: string
  options(command: Command): Command
  /** Its options that `update --clear` takes. Absent: none. */
  clearable?: readonly string[]
  create(name: string | undefined, options: Options): Promise<number>
  update(given: string, options: Options): Promise<number>
}

function addGroup<Options>(
  program: Command,
  exit: Exit,
  { kind, word, summary, description, options, clearable, create, update }: Group<Options>,
): void {
  const which = `name or uid of the ${word}`
  const asServed = json(`the ${word} as the API serves it`)
  const group = program
    .command(kind)
    .summary(summary)
    .description(description)
    .addOption(json(`the ${word}s as the API serves them`))
    .action(async (given: { json?: boolean }) => exit(await (await load()).listItems(kind, given)))
  group
    .command('list')
    .description(`The same as \`ambient ${kind}\`.`)
    .addOption(json(`the ${word}s as the API serves them`))
    .action(async (_: unknown, command: Command) =>
      exit(await (await load()).listItems(kind, command.optsWithGlobals())),
    )
  options(group.command('create').description(`Make a ${word}.`).argument('<name>', 'its name'))
    .option('--personal', 'one of one’s own, for one’s own runs')
    .addOption(asServed)
    .action(async (name: string, _: unknown, command: Command) =>
      exit(await create(name, command.optsWithGlobals<Options & object>())),
    )
  group
    .command('show')
    .description(`Show a ${word}.`)
    .argument('<which>', which)
    .option('--at <version>', 'a former version', whole(1, 1_000_000))
    .addOption(asServed)
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).showItem(kind, given, command.optsWithGlobals())),
    )
  const change = options(
    group
      .command('update')
      .description('Change it, by a further version. What no option names stays as it is.')
      .argument('<which>', which),
  )
  if (clearable) change.addOption(clear(clearable))
  change
    .option('--name <name>', 'its new name')
    .addOption(asServed)
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await update(given, command.optsWithGlobals<Options & object>())),
    )
  group
    .command('versions')
    .description('List its versions, the newest first.')
    .argument('<which>', which)
    .addOption(json('the versions as the API serves them'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).itemVersions(kind, given, command.optsWithGlobals())),
    )
  group
    .command('delete')
    .description(`Delete a ${word}. Runs that used it stay as they are.`)
    .argument('<which>', which)
    .action(async (given: string) => exit(await (await load()).deleteItem(kind, given)))
}
