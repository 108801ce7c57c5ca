// `ambient stats` and its options.
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { StatsOptions } from '../commands/stats.ts'
import { json, whole } from '../options.ts'

// As in domain/statistics.ts, which is not read here: zod would come with it, and take half of the time of `--help`.
const groups = ['source', 'agent', 'model', 'creator', 'executor', 'environment', 'state', 'failure']
const periods = ['day', 'week', 'month']

export function addStats(program: Command, exit: (code: number) => void): void {
  program
    .command('stats')
    .summary('show what the runs of the team came to')
    .description('Show what the runs of the team came to: how many, how they ended, how long they took and waited.')
    .addOption(new Option('--by <what>', 'a line for each').choices(groups))
    .addOption(new Option('--per <period>', 'a line for each day, week or month').choices(periods).conflicts('by'))
    .option('--since <time>', 'runs created from here on: a day or a time (default: 30 days back)', time)
    .option('--until <time>', 'and before this (default: now)', time)
    .option('--time-zone <name>', 'where days begin, such as Europe/Berlin (default: that of this machine)')
    .option('-n, --limit <number>', 'how many lines of --by', whole(1, 500))
    .addOption(json('the answer as the API serves it'))
    .action(async (options: StatsOptions) => exit(await (await import('../commands/stats.ts')).stats(options)))
}

function time(text: string): string {
  if (/^\d{4}-\d\d-\d\d$/.test(text)) return text
  const value = new Date(text)
  if (!text.includes('T') || Number.isNaN(value.getTime()))
    throw new InvalidArgumentError('A day such as 2026-01-31, or a time such as 2026-01-31T12:00Z.')
  return value.toISOString()
}
