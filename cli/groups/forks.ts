// `ambient fork` and `ambient checkpoints`, and their options.
import { type Command, Option } from 'commander'
import type { CheckpointsOptions, ForkOptions } from '../commands/fork.ts'
import { following, json, list, permission, RUN, whole } from '../options.ts'

export function addForks(program: Command, agentNames: readonly string[], exit: (code: number) => void): void {
  following(
    program
      .command('fork')
      .summary('start a run from where another one was')
      .description(
        'Start a run from a checkpoint of another one: with its files, its environment and configuration, and its agent’s session. That run goes on as if nothing had happened.',
      )
      .argument('<id>', RUN)
      .argument('[prompt]', 'the task; `-`, or none with something piped in, reads it from stdin')
      .option('-c, --checkpoint <number>', 'which checkpoint; unset: the newest', whole(1, 2 ** 31 - 1))
      .addOption(
        new Option(
          '--session <session>',
          'whether the agent knows what was said before; unset: it does, where it is the same agent',
        ).choices(['continue', 'fresh']),
      )
      .option('-f, --file <path>', 'read the prompt from a file')
      .addOption(
        new Option('-a, --agent <name>', 'another agent').choices(agentNames.filter((name) => name !== 'command')),
      )
      .option('-m, --model <id>', 'another model')
      .option('--reasoning <level>', 'another reasoning level')
      .addOption(permission())
      .option('-t, --title <title>', 'title of the run; unset: the first line of the prompt')
      .option('--idle <minutes>', 'how long the sandbox is kept after the work is done', whole(0, 60))
      .option('--pool <name>', 'pool of hosts that may take the run')
      .option('--priority <number>', 'where runs wait in line, higher goes first', whole(-100, 100))
      .addOption(list('--metadata <key=value>', 'further label of the run (repeatable)')),
  ).action(async (id: string, prompt: string | undefined, options: ForkOptions) => {
    exit(await (await import('../commands/fork.ts')).fork(id, prompt, options))
  })
  program
    .command('checkpoints')
    .summary('list the checkpoints of a run')
    .description('List the checkpoints of a run, the newest first: one after each turn that changed anything.')
    .argument('<id>', RUN)
    .option('-n, --limit <number>', 'how many', whole(1, 500), 20)
    .option('--cursor <cursor>', 'go on where the page before ended')
    .addOption(json('the page as the API serves it'))
    .action(async (id: string, options: CheckpointsOptions) => {
      exit(await (await import('../commands/fork.ts')).checkpoints(id, options))
    })
}
