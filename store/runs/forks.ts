// What a forked run takes over from the run that it comes from.
import type { Selectable } from 'kysely'
import type { Tx } from '../database.ts'
import type { RunsTable } from '../schema.ts'
import { isVisible, type Visibility } from './run-access.ts'

const taken = [
  'id',
  'scope',
  'agent',
  'model',
  'reasoning_level',
  'command',
  'pool',
  'priority',
  'concurrency_group',
  'concurrency_limit',
  'config',
  'environment',
  'environment_id',
  'metadata',
  'checkpoints',
] as const

export type ForkSource = Pick<Selectable<RunsTable>, (typeof taken)[number]>

/** Null when whoever asks sees no such run. */
export async function findForkSource(tx: Tx, runId: string, visibility: Visibility): Promise<ForkSource | null> {
  const row = await tx
    .selectFrom('runs')
    .select(taken)
    .where('id', '=', runId)
    .where(isVisible(visibility))
    .executeTakeFirst()
  return row ?? null
}
