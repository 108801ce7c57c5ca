// `ambient git-credentials` and what is below it: the commands and their options. Each loads its own code when it is called.
import { type Command, Option } from 'commander'
import type { GitCredentialOptions } from '../commands/git-credentials.ts'
import { json } from '../options.ts'

const CREDENTIAL = 'name or uid of the credential'

export function addGitCredentials(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/git-credentials.ts')
  const credentials = program
    .command('git-credentials')
    .summary('let runs get at private repositories, without their token')
    .description(
      'List the git credentials of the team, and your own. Runs clone, fetch and push by them through the git broker, and never have them.',
    )
    .addOption(json('the credentials as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).gitCredentials(options)))
  credentials
    .command('list')
    .description('The same as `ambient git-credentials`.')
    .addOption(json('the credentials as the API serves them'))
    .action(async (_: unknown, command: Command) =>
      exit(await (await load()).gitCredentials(command.optsWithGlobals())),
    )
  credentials
    .command('show')
    .description('Show a credential, without its token.')
    .argument('<credential>', CREDENTIAL)
    .addOption(json('the credential as the API serves it'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).show(given, command.optsWithGlobals())),
    )
  withConfig(
    credentials
      .command('create')
      .description('Store a token, which is read from stdin or a file, or a GitHub App.')
      .argument('<name>', 'what people know it by'),
  )
    .option('--personal', 'only for runs of your own, and seen by nobody else')
    .action(async (name: string, _: unknown, command: Command) =>
      exit(await (await load()).create(name, command.optsWithGlobals<GitCredentialOptions>())),
    )
  withConfig(
    credentials
      .command('update')
      .description('Change a credential. What no option names stays as it is.')
      .argument('<credential>', CREDENTIAL),
  )
    .option('--name <name>', 'its new name')
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).update(given, command.optsWithGlobals<GitCredentialOptions>())),
    )
  credentials
    .command('delete')
    .description('Delete a credential. Runs at work cannot use it any more.')
    .argument('<credential>', CREDENTIAL)
    .action(async (given: string) => exit(await (await load()).remove(given)))
}

const withConfig = (command: Command): Command =>
  command
    .option(
      '--url <url>',
      'for which repositories: `https://github.com`, `https://github.com/owner`, `https://github.com/owner/repository`',
    )
    .option('--token-file <path>', 'file with the token; `-` reads it from stdin')
    .option('--user <name>', 'user name that is sent with the token (default: as the forge wants it)')
    .option('--app-id <id>', 'a GitHub App in place of a token: its id')
    .option('--key-file <path>', 'file with the private key of the App; `-` reads it from stdin')
    .option('--api-url <url>', 'address of the API that the App is known to (default: by the server of --url)')
    .addOption(new Option('--access <access>', 'what runs may do with it (default: write)').choices(['read', 'write']))
    .addOption(
      new Option('--forge <forge>', 'by whose API it opens pull requests (default: by the server of --url)').choices([
        'github',
        'gitlab',
      ]),
    )
    .addOption(json('the credential as the API serves it'))
