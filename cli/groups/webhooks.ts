// `ambient webhooks` and what is below it: the commands and their options. Each loads its own code when it is called.
import { type Command, Option } from 'commander'
import { runSources } from '../../domain/run-sources.ts'
import type { WebhookEvent } from '../../domain/webhook.ts'
import type { WebhookOptions } from '../commands/webhooks.ts'
import { json, list, whole } from '../options.ts'

const WEBHOOK = 'name or uid of the webhook'

// Not read from the schema itself: that would load zod, and half of the time of `--help` with it.
const events = Object.keys({
  'run.queued': 1,
  'run.pending': 1,
  'run.claimed': 1,
  'run.in_progress': 1,
  'run.blocked': 1,
  'run.succeeded': 1,
  'run.failed': 1,
  'run.errored': 1,
  'run.cancelled': 1,
  'run.pull_request': 1,
  'run.artifact': 1,
  'run.budget': 1,
} satisfies Record<WebhookEvent, 1>)

export function addWebhooks(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/webhooks.ts')
  const webhooks = program
    .command('webhooks')
    .summary('tell other services of what happens to runs')
    .description('List the webhooks of the team. It takes an admin of the team.')
    .addOption(json('the webhooks as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).webhooks(options)))
  webhooks
    .command('list')
    .description('The same as `ambient webhooks`.')
    .addOption(json('the webhooks as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).webhooks(command.optsWithGlobals())))
  withConfig(
    webhooks
      .command('create')
      .description('Make a webhook. Its secret is printed once.')
      .argument('<name>', 'what it is for')
      .argument('<url>', 'where deliveries are sent'),
  )
    .option('--disabled', 'make it without sending anything yet')
    .action(async (name: string, url: string, _: unknown, command: Command) =>
      exit(await (await load()).create(name, url, command.optsWithGlobals<WebhookOptions>())),
    )
  withConfig(
    webhooks
      .command('update')
      .description('Change a webhook. What no option names stays as it is; its secret does in any case.')
      .argument('<webhook>', WEBHOOK),
  )
    .option('--name <name>', 'its new name')
    .option('--url <url>', 'where deliveries are sent from now on')
    .addOption(new Option('--enable', 'send again').conflicts('disable'))
    .option('--disable', 'send nothing')
    .action(async (given: string, _: unknown, command: Command) => {
      const { enable, disable, ...options } = command.optsWithGlobals<
        WebhookOptions & { enable?: boolean; disable?: boolean }
      >()
      exit(
        await (await load()).update(given, {
          ...options,
          ...(enable && { enabled: true }),
          ...(disable && { disabled: true }),
        }),
      )
    })
  webhooks
    .command('delete')
    .description('Delete a webhook, with what was to be sent.')
    .argument('<webhook>', WEBHOOK)
    .action(async (given: string) => exit(await (await load()).remove(given)))
  webhooks
    .command('secret')
    .description('Make a new secret. It is printed once, and signs from then on.')
    .argument('<webhook>', WEBHOOK)
    .addOption(json('the webhook as the API serves it, with the secret'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).renewSecret(given, command.optsWithGlobals())),
    )
  webhooks
    .command('ping')
    .description('Send a test.')
    .argument('<webhook>', WEBHOOK)
    .addOption(json('the delivery as the API serves it'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).ping(given, command.optsWithGlobals())),
    )
  webhooks
    .command('deliveries')
    .description('List what was sent, the newest first, and what came of it.')
    .argument('<webhook>', WEBHOOK)
    .option('-n, --limit <number>', 'how many', whole(1, 500), 20)
    .option('--cursor <cursor>', 'go on where the page before ended')
    .addOption(json('the page as the API serves it'))
    .action(async (given: string, _: unknown, command: Command) =>
      exit(await (await load()).deliveries(given, command.optsWithGlobals<{ limit: number; cursor?: string }>())),
    )
  webhooks
    .command('resend')
    .description('Send a delivery again.')
    .argument('<webhook>', WEBHOOK)
    .argument('<delivery>', 'id of the delivery')
    .addOption(json('the delivery as the API serves it'))
    .action(async (given: string, delivery: string, _: unknown, command: Command) =>
      exit(await (await load()).resend(given, delivery, command.optsWithGlobals())),
    )
}

/** The options that say what it is told of. */
const withConfig = (command: Command): Command =>
  command
    .addOption(list('--event <name>', `of which it is told: ${events.join(', ')} (repeatable)`))
    .addOption(list('--environment <name|uid>', 'only runs in this stored environment (repeatable)'))
    .addOption(list('--source <source>', `only runs from there: ${runSources.join(', ')} (repeatable)`))
    .addOption(list('--metadata <key=value>', 'only runs with this label (repeatable)'))
    .addOption(json('the webhook as the API serves it'))
