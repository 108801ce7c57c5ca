// The line in which runs wait for their turn, as it is told. Pure.
import { z } from 'zod'

/** How early a run comes up: higher goes first. */
export const Priority = z.number().int().min(-100).max(100)

/** At most `limit` runs of the group are at work when this one begins. */
export const Concurrency = z
  .object({
    group: z
      .string()
      .min(1)
      .max(100)
      .regex(/^[\w./:@-]+$/)
      .describe('Any name: an environment, a repository, a database that tests share.'),
    limit: z.number().int().min(1).max(10_000),
  })
  .meta({ id: 'Concurrency' })

export type Concurrency = z.infer<typeof Concurrency>

/** Where a QUEUED run stands, and why it waits. */
export const QueuePlace = z
  .object({
    position: z.number().int().min(1).describe('Its place among those that wait for the same; 1 is next.'),
    reason: z.enum(['at_capacity', 'no_host']),
    scope: z
      .enum(['pool', 'host', 'team', 'group', 'environment'])
      .describe('Whose limit it waits for. `host`: its workspace is on that host, and it can go to no other.'),
    name: z.string().describe('Which pool, host, team, group or environment.'),
    limit: z.number().int().describe('How many runs there may be at once.'),
    in_use: z.number().int().describe('How many there are. A sandbox that is kept for a follow-up counts on its host.'),
    message: z.string(),
  })
  .meta({ id: 'QueuePlace' })

export type QueuePlace = z.infer<typeof QueuePlace>

/** The place as a sentence. */
export function describePlace({ position, reason, scope, name, limit, in_use: inUse }: Omit<QueuePlace, 'message'>) {
  if (reason === 'no_host')
    return `Place ${position} in line: no host of the pool "${name}" is connected and takes new runs.`
  const what = scope === 'pool' || scope === 'host' ? `${scope} "${name}" is full` : `limit of the ${scope} "${name}"`
  return `Place ${position} in line: ${what}, ${inUse} of ${limit}.`
}
