// `ambient credits`, `ambient budgets` and what is below them: the commands and their options. Each loads its own code when it is called.
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import { ledgerKinds } from '../../domain/money/words.ts'
import type { BudgetOptions, LimitOptions, RaiseOptions } from '../commands/budgets.ts'
import type { GrantOptions, LedgerOptions } from '../commands/credits.ts'
import { json, list, RUN, whole } from '../options.ts'

type Exit = (code: number) => void

export function addMoney(program: Command, exit: Exit): void {
  addCredits(program, exit)
  addBudgets(program, exit)
}

function addCredits(program: Command, exit: Exit): void {
  const load = () => import('../commands/credits.ts')
  const credits = program
    .command('credits')
    .summary('see what the team has to spend and has spent')
    .description('Show the credits of the team: the balance, and what models and compute have cost.')
    .addOption(json('the answer as the API serves it'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).credits(options)))
  credits
    .command('grant')
    .description('Give the team credits, or take back what was too many. It takes the admin key of the server.')
    .argument('<credits>', 'how many', amount)
    .option('--take-back', 'take so many back')
    .addOption(new Option('--purchase', 'they are an add-on that was paid for').conflicts('takeBack'))
    .option('--usd <amount>', 'what was paid', amount)
    .option('--note <text>', 'shown in the ledger')
    .addOption(json('the answer as the API serves it'))
    .action(async (given: number, _: unknown, command: Command) =>
      exit(await (await load()).grant(given, command.optsWithGlobals<GrantOptions>())),
    )
  credits
    .command('ledger')
    .description('List what was given and charged, the newest first.')
    .addOption(
      new Option('--kind <kind>', `only these: ${ledgerKinds.join(', ')} (repeatable)`).argParser(
        (text: string, former: string[] = []) => {
          if (!ledgerKinds.some((kind) => kind === text))
            throw new InvalidArgumentError(`One of: ${ledgerKinds.join(', ')}.`)
          return [...former, text]
        },
      ),
    )
    .option('--person <uid>', 'only what was for the runs of this person or service account')
    .option('--run <id>', `only of this run: the ${RUN}`)
    .option('--schedule <uid>', 'only of the runs of this schedule')
    .option('--since <time>', 'from here on: a day or a time', time)
    .option('--until <time>', 'and before this', time)
    .option('-n, --limit <number>', 'how many', whole(1, 1_000_000), 50)
    .addOption(new Option('--csv', 'as comma-separated values').conflicts('json'))
    .addOption(json('JSON lines: the entries as the API serves them'))
    .action(async (_: unknown, command: Command) =>
      exit(await (await load()).ledger(command.optsWithGlobals<LedgerOptions>())),
    )
}

function addBudgets(program: Command, exit: Exit): void {
  const load = () => import('../commands/budgets.ts')
  const budgets = program
    .command('budgets')
    .summary('see and set what may be spent')
    .description('List the budgets of the team, its people and schedules, with what is spent of them.')
    .addOption(json('the answer as the API serves it'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).budgets(options)))
  budgets
    .command('list')
    .description('The same as `ambient budgets`.')
    .addOption(json('the answer as the API serves it'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).budgets(command.optsWithGlobals())))
  limited(
    budgets
      .command('set')
      .description('Set a budget. At its end the runs that it is about are paused until it is more.')
      .addArgument(new Argument('<scope>', 'whose').choices(['schedule', 'person', 'team']))
      .argument('[uid]', 'of the schedule, person or service account')
      .option('--total', 'for good, and not for each month'),
  )
    .addOption(alerts())
    .addOption(json('the budget as the API serves it'))
    .action(async (scope: string, uid: string | undefined, _: unknown, command: Command) =>
      exit(await (await load()).setBudget(scope, uid, command.optsWithGlobals<BudgetOptions>())),
    )
  limited(
    budgets
      .command('change')
      .description('Give a budget another limit. Runs that it had stopped go on where that leaves room.')
      .argument('<uid>', 'of the budget'),
  )
    .addOption(alerts())
    .addOption(json('the budget as the API serves it'))
    .action(async (uid: string, _: unknown, command: Command) =>
      exit(await (await load()).changeBudget(uid, command.optsWithGlobals<LimitOptions>())),
    )
  budgets
    .command('delete')
    .description('Delete a budget.')
    .argument('<uid>', 'of the budget')
    .action(async (uid: string) => exit(await (await load()).deleteBudget(uid)))
  budgets
    .command('show')
    .description('Show all budgets that hold for a run, and whether one stops it.')
    .argument('<run>', RUN)
    .addOption(json('the answer as the API serves it'))
    .action(async (run: string, _: unknown, command: Command) =>
      exit(await (await load()).showBudgets(run, command.optsWithGlobals<{ json?: boolean }>())),
    )
  limited(
    budgets
      .command('raise')
      .description('Say what a run may cost in all. A run that was paused for its budget goes on where it is.')
      .argument('<run>', RUN)
      .option('--tree', 'the run with all that it begins'),
  )
    .addOption(json('the answer as the API serves it'))
    .action(async (run: string, _: unknown, command: Command) =>
      exit(await (await load()).raise(run, command.optsWithGlobals<RaiseOptions>())),
    )
}

const limited = (command: Command): Command =>
  command
    .addOption(new Option('--usd <amount>', 'the limit in US dollars').argParser(amount))
    .addOption(new Option('--credits <amount>', 'the limit in credits').argParser(amount).conflicts('usd'))

const alerts = () =>
  list('--alert <percent>', 'at which share of it you are told (repeatable; default: 50, 80 and 100)')

function amount(text: string): number {
  const value = Number(text)
  if (!/^-?\d+(\.\d+)?$/.test(text) || !Number.isFinite(value))
    throw new InvalidArgumentError('A number, such as 2.50.')
  return value
}

function time(text: string): string {
  const value = new Date(text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(value.getTime()))
    throw new InvalidArgumentError('A day such as 2026-01-31, or a time such as 2026-01-31T12:00Z.')
  return value.toISOString()
}
