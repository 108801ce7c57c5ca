// `ambient models`, `ambient providers` and what is below them. Each loads its own code when it is called.
import { type Command, Option } from 'commander'
import type { ProviderOptions, RulesOptions } from '../commands/models.ts'
import { json, list } from '../options.ts'

const PROVIDER = 'name or uid of the endpoint'

export function addModels(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/models.ts')
  const models = program
    .command('models')
    .summary('show models and prices, and which of them the team may call')
    .description('List the models that are known by name, with their prices.')
    .addOption(json('the models as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).models(options)))
  models
    .command('list')
    .description('The same as `ambient models`.')
    .addOption(json('the models as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).models(command.optsWithGlobals())))
  models
    .command('rules')
    .summary('show which models may be called, or say it')
    .description(
      'Show which models the team may call. With options, which takes an admin of the team, say it anew: what was said before is replaced. A * stands for any characters.',
    )
    .addOption(list('--allow <pattern>', 'models that may be called, such as claude-*; without any, all of them'))
    .addOption(list('--deny <pattern>', 'models that may not, whatever is allowed'))
    .option('--none', 'have no rules')
    .addOption(json('the rules as the API serves them'))
    .action(async (_: unknown, command: Command) =>
      exit(await (await load()).rules(command.optsWithGlobals<RulesOptions>())),
    )

  const providers = program
    .command('providers')
    .summary('have models called at endpoints of the team’s own')
    .description('List the team’s own model endpoints. It takes an admin of the team.')
    .addOption(json('the endpoints as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).providers(options)))
  providers
    .command('list')
    .description('The same as `ambient providers`.')
    .addOption(json('the endpoints as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).providers(command.optsWithGlobals())))
  withConfig(
    providers
      .command('create')
      .description('Add an endpoint.')
      .argument('<name>', 'what it is called')
      .argument('<url>', 'where it is; that of an openai endpoint has its /v1'),
  ).action(async (name: string, url: string, _: unknown, command: Command) =>
    exit(await (await load()).createProvider(name, url, command.optsWithGlobals<ProviderOptions>())),
  )
  withConfig(
    providers
      .command('update')
      .description('Change an endpoint. What no option names stays as it is.')
      .argument('<provider>', PROVIDER)
      .option('--name <name>', 'its new name')
      .option('--url <url>', 'where it is from now on')
      .option('--no-key', 'it asks for none any more'),
  ).action(async (given: string, _: unknown, command: Command) =>
    exit(await (await load()).updateProvider(given, command.optsWithGlobals<ProviderOptions>())),
  )
  providers
    .command('delete')
    .description('Remove an endpoint.')
    .argument('<provider>', PROVIDER)
    .action(async (given: string) => exit(await (await load()).removeProvider(given)))
}

const withConfig = (command: Command): Command =>
  command
    .addOption(new Option('--format <format>', 'whose API it speaks').choices(['anthropic', 'openai', 'gemini']))
    .addOption(list('--model <pattern>', 'models that are called there, such as llama-* (default: all of its format)'))
    .option('--key-file <file>', 'file that has its key; `-` reads it from stdin')
    .addOption(list('--header <name: value>', 'sent with every call'))
    .addOption(json('the endpoint as the API serves it, without what is secret'))
