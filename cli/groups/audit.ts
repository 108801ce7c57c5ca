// `ambient audit` and what is below it: the commands and their options. Each loads its own code when it is called.
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { AuditOptions, VerifyOptions } from '../commands/audit.ts'
import { json, list, whole } from '../options.ts'

export function addAudit(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/audit.ts')
  const audit = program
    .command('audit')
    .summary('see who did what, and check that nobody has changed the record of it')
    .description('Show the audit log of the team, the newest entries last. It takes an admin of the team.')
    .addOption(list('--action <name>', 'only this, such as environments.update (repeatable)'))
    .option('--actor <uid>', 'only what this person or service account did; `operator` for the admin key')
    .option('--thing <uid>', 'only what was done to this')
    .option('--since <time>', 'from here on: a day or a time', time)
    .option('--until <time>', 'and before this', time)
    .addOption(new Option('--all', 'of all teams, and of none: only with the admin key'))
    .option('-n, --limit <number>', 'how many, the newest of them', whole(1, 500), 50)
    .addOption(json('JSON lines: the entries as the API serves them'))
    .action(async (options: AuditOptions) => exit(await (await load()).audit(options)))
  audit
    .command('verify')
    .description(
      'Check that the audit log is what was written: every entry’s hash is computed anew. Exits with 1 where it is not.',
    )
    .option(
      '--known <position:hash>',
      'an entry that was noted elsewhere before, such as from the log of the server: whether it is there unchanged',
    )
    .addOption(json('the answer as the API serves it'))
    .action(async (_: unknown, command: Command) =>
      exit(await (await load()).verify(command.optsWithGlobals<VerifyOptions>())),
    )
}

function time(text: string): string {
  const value = new Date(text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(value.getTime()))
    throw new InvalidArgumentError('A day such as 2026-01-31, or a time such as 2026-01-31T12:00Z.')
  return value.toISOString()
}
