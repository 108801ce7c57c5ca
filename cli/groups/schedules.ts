// `ambient schedules` and what is below it: the commands and their options. Each loads its own code when it is called.
import { type Command, Option } from 'commander'
import type { OverlapPolicy } from '../../domain/schedule.ts'
import type { ScheduleOptions } from '../commands/schedules.ts'
import { json, list, whole } from '../options.ts'

const SCHEDULE = 'name or id of the schedule'

// Not read from the schema itself: that would load zod, and half of the time of `--help` with it.
const policies = Object.keys({
  skip: 1,
  buffer_one: 1,
  buffer_all: 1,
  cancel_other: 1,
  allow_all: 1,
} satisfies Record<OverlapPolicy, 1>)

/** `rest`: what stands after `--`, which is the command of `--agent command`. */
export function addSchedules(
  program: Command,
  agentNames: readonly string[],
  rest: readonly string[],
  exit: (code: number) => void,
): void {
  const load = () => import('../commands/schedules.ts')
  const schedules = program
    .command('schedules')
    .summary('have runs begin by themselves, at the times of a cron expression')
    .description('List the schedules: when their runs begin, and how the last ones did.')
    .addOption(json('the schedules as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).schedules(options)))
  schedules
    .command('list')
    .description('The same as `ambient schedules`.')
    .addOption(json('the schedules as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).schedules(command.optsWithGlobals())))
  withConfig(
    schedules
      .command('create')
      .description('Make a schedule.')
      .argument('[name]', 'its name; unset: the one in the file'),
    agentNames,
  )
    .option('--personal', 'a schedule of one’s own, and not of the team')
    .option('--paused', 'make it paused')
    .addHelpText('after', examples)
    .action(async (name: string | undefined, _: unknown, command: Command) =>
      exit(await (await load()).create(name, command.optsWithGlobals<ScheduleOptions>(), rest)),
    )
  schedules
    .command('show')
    .description('Show a schedule, and what became of its last times.')
    .argument('<schedule>', SCHEDULE)
    .option('-n, --limit <number>', 'how many times', whole(1, 500), 10)
    .addOption(json('the schedule as the API serves it, with its `slots`'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).show(given, command.optsWithGlobals<{ json?: boolean; limit: number }>())),
    )
  withConfig(
    schedules
      .command('update')
      .description('Change a schedule. What no option names stays as it is; a file takes the place of everything.')
      .argument('<schedule>', SCHEDULE),
    agentNames,
  )
    .option('--name <name>', 'its new name')
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).update(given, command.optsWithGlobals<ScheduleOptions>(), rest)),
    )
  for (const [word, on, description] of [
    ['pause', false, 'Pause a schedule. Runs that go on are left to go on.'],
    ['resume', true, 'Resume a schedule. What had failed before is forgiven.'],
  ] as const)
    schedules
      .command(word)
      .description(description)
      .argument('<schedule>', SCHEDULE)
      .addOption(json('the schedule as the API serves it'))
      .action(async (given: string, _: unknown, command: Command) =>
        exit(await (await load()).setEnabled(given, on, command.optsWithGlobals())),
      )
  schedules
    .command('run')
    .description('Start a run of a schedule now, and print its id.')
    .argument('<schedule>', SCHEDULE)
    .addOption(json('the run as it was started'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).runNow(given, command.optsWithGlobals())),
    )
  schedules
    .command('backfill')
    .description('Start the runs of times that have passed. A time that has a run gets no second one.')
    .argument('<schedule>', SCHEDULE)
    .requiredOption('--from <time>', 'the first moment, such as 2026-01-31 or 2026-01-31T12:00:00Z')
    .requiredOption('--to <time>', 'the last moment')
    .addOption(overlap('how the runs follow one another; unset: each after the end of the one before'))
    .addOption(json('the times that are made up for'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).backfill(given, command.optsWithGlobals<{ from: string; to: string }>())),
    )
  schedules
    .command('upcoming')
    .description('Show the next times of a schedule.')
    .argument('<schedule>', SCHEDULE)
    .option('-n, --limit <number>', 'how many', whole(1, 100), 10)
    .addOption(json('the times as the API serves them'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).upcoming(given, command.optsWithGlobals<{ json?: boolean; limit: number }>())),
    )
  schedules
    .command('delete')
    .description('Delete a schedule. Its runs stay, and go on.')
    .argument('<schedule>', SCHEDULE)
    .action(async (given: string) => exit(await (await load()).remove(given)))
}

const overlap = (description: string) => new Option('--overlap <policy>', description).choices(policies)

/** The options that say what a schedule is. */
const withConfig = (command: Command, agentNames: readonly string[]): Command =>
  command
    .option('-f, --file <path>', 'JSON file with the whole schedule, as the API takes it; `-` reads it from stdin')
    .option('-c, --cron <expression>', 'its times: minute, hour, day of the month, month, day of the week')
    .option('--time-zone <zone>', 'that its times are in, such as Europe/Berlin; unset: UTC')
    .option('--prompt <text>', 'the task of each run')
    .option('--saved-prompt <name|uid>', 'saved prompt that is the task, as it is when each run begins')
    .addOption(list('--arg <name=value>', 'argument of the saved prompt (repeatable)'))
    .option('--profile <name|uid>', 'agent profile of its runs')
    .addOption(list('--skill <name>', 'skill that each run works by; the task may be left out then (repeatable)'))
    .option('--environment <name|uid>', 'stored environment that its runs work in')
    .addOption(
      new Option('-a, --agent <name>', 'agent that does the work; unset: the server’s default').choices(agentNames),
    )
    .option('-m, --model <id>', 'model of the agent')
    .option('--as <name|uid>', 'service account that its runs are made by')
    .addOption(overlap('what happens while an earlier run of it goes on; unset: skip'))
    .option('--catch-up <seconds>', 'how late a time may be made up for (default: 3600)', whole(10, 31_536_000))
    .option('--jitter <seconds>', 'runs begin up to so much later, at random', whole(0, 3_600))
    .option('--pause-after <failures>', 'pause it after so many failures in a row; 0: never', whole(0, 1_000))
    .addOption(list('--metadata <key=value>', 'label of its runs (repeatable)'))
    .addOption(json('the schedule as the API serves it'))

const examples = `
Examples:
  ambient schedules create nightly --cron "0 3 * * *" --prompt "Update the dependencies" --environment web
  ambient schedules create review --cron "0 9 * * MON-FRI" --time-zone Europe/Berlin --prompt "Review open pull requests"
  ambient schedules create backup --cron "0 2 * * *" --agent command -- ./backup.sh --all`
