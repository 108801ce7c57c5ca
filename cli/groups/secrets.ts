// `ambient secrets` and `ambient vault`, and what is below them. Each loads its own code when it is called.
import { type Command, Option } from 'commander'
import type { ScopeOptions, SecretOptions } from '../commands/secrets.ts'
import { json } from '../options.ts'

export function addSecrets(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/secrets.ts')
  const secrets = program
    .command('secrets')
    .summary('keep what runs are given as variables and files')
    .description('List the secrets by their names. No value is ever shown.')
  const withScope = (command: Command) =>
    command
      .addOption(new Option('--personal', 'one’s own'))
      .option('--environment <name>', 'of the runs of an environment, by its name or uid')
      .option('--agent <uid>', 'of the runs that a service account carries out')
  withScope(secrets)
    .addOption(json('the secrets as the API serves them'))
    .action(async (options: ScopeOptions) => exit(await (await load()).secrets(options)))
  withScope(secrets.command('list').description('The same as `ambient secrets`.'))
    .addOption(json('the secrets as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).secrets(command.optsWithGlobals())))
  withScope(
    secrets
      .command('set')
      .description(
        'Keep a secret, or give it a new value. The value is read from stdin, or from a file: never from an argument, which others on the machine could see.',
      )
      .argument('<name>', 'as the variable is called'),
  )
    .option('--file <path>', 'where the value is; `-` for stdin')
    .option('--as-file [path]', 'runs get it as a file, found at this path as well: ~/.aws/credentials')
    .option('--description <text>', 'what it is for')
    .addOption(json('the secret as the API serves it'))
    .action(async (name: string, _: unknown, command: Command) =>
      exit(await (await load()).set(name, command.optsWithGlobals<SecretOptions>())),
    )
  withScope(
    secrets
      .command('import')
      .description('Keep every NAME=value of a `.env` file. What is kept already gets a new value.')
      .argument('[file]', 'the file; unset or `-`: pasted or piped in'),
  )
    .addOption(json('the secrets as the API serves them'))
    .action(async (file: string | undefined, _: unknown, command: Command) =>
      exit(await (await load()).importAll(file, command.optsWithGlobals<ScopeOptions>())),
    )
  withScope(
    secrets
      .command('delete')
      .description('Delete a secret. No run gets it from then on.')
      .argument('<name>', 'its name'),
  ).action(async (name: string, _: unknown, command: Command) =>
    exit(await (await load()).remove(name, command.optsWithGlobals<ScopeOptions>())),
  )
}

export function addVault(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/vault.ts')
  const vault = program
    .command('vault')
    .summary('see the keys that secrets are sealed under, and change them')
    .description('Show the keys of the vault, and how much is sealed under each. It takes the admin key.')
    .addOption(json('the vault as the API serves it'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).vault(options)))
  vault
    .command('rotate')
    .description('Bring everything under the newest key, while everything runs. A key that has nothing left may go.')
    .option('--new-key', 'make a new key first, where the keys are a file of the server')
    .addOption(json('the vault as the API serves it'))
    .action(async (_: unknown, command: Command) =>
      exit(await (await load()).rotate(command.optsWithGlobals<{ json?: boolean; newKey?: boolean }>())),
    )
}
