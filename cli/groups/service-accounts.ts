// `ambient service-accounts` and what is below it: the commands and their options. Each loads its own code when it is called.
import { type Command, Option } from 'commander'
import type { ServiceAccountOptions } from '../commands/service-accounts.ts'
import { json } from '../options.ts'

const ACCOUNT = 'name or uid of the service account'

export function addServiceAccounts(
  program: Command,
  agentNames: readonly string[],
  exit: (code: number) => void,
): void {
  const load = () => import('../commands/service-accounts.ts')
  const accounts = program
    .command('service-accounts')
    .summary('have runs work as somebody who is no person')
    .description('List the service accounts of the team: as whom runs work that no person is behind.')
    .addOption(json('the service accounts as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).serviceAccounts(options)))
  accounts
    .command('list')
    .description('The same as `ambient service-accounts`.')
    .addOption(json('the service accounts as the API serves them'))
    .action(async (_: unknown, command: Command) =>
      exit(await (await load()).serviceAccounts(command.optsWithGlobals())),
    )
  withConfig(
    accounts.command('create').description('Make a service account.').argument('<name>', 'its name'),
    agentNames,
  )
    .addHelpText('after', examples)
    .action(async (name: string, _: unknown, command: Command) =>
      exit(await (await load()).create(name, command.optsWithGlobals<ServiceAccountOptions>())),
    )
  withConfig(
    accounts
      .command('update')
      .description('Change a service account. What no option names stays as it is; an empty text clears.')
      .argument('<account>', ACCOUNT),
    agentNames,
  )
    .option('--name <name>', 'its new name')
    .option('--no-on-behalf-of', 'its runs may be those of no member any more')
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).update(given, command.optsWithGlobals<ServiceAccountOptions>())),
    )
  accounts
    .command('delete')
    .description('Delete a service account, and revoke its keys. Runs that it carried out stay.')
    .argument('<account>', ACCOUNT)
    .action(async (given: string) => exit(await (await load()).remove(given)))
}

/** What holds for its runs where their requests do not say. */
const withConfig = (command: Command, agentNames: readonly string[]): Command =>
  command
    .option('--description <text>', 'what it is for')
    .option('--prompt <text>', 'what its agents are told before each task')
    .option('--environment <name|uid>', 'stored environment that its runs work in')
    .addOption(new Option('-a, --agent <name>', 'agent that does the work').choices(agentNames))
    .option('-m, --model <id>', 'model of the agent')
    .option('--on-behalf-of', 'its key may start runs that are those of a member; only admins say so')
    .addOption(json('the service account as the API serves it'))

const examples = `
Examples:
  ambient service-accounts create ci --prompt "Change as little as possible." --environment web
  ambient keys create github --service-account ci --scope run
  ambient run --as ci "Fix the failing test"`
