// Connected hosts and their keys, as they are served. "Worker" is Oz's word for a host.
import { z } from 'zod'

/** Of a host or a pool: it becomes part of the name of a task queue. */
export const HostName = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[\w.-]+$/, 'must be letters, digits, dots, dashes or underscores')

export const workerStates = ['live', 'draining', 'drained', 'gone'] as const

export const EgressState = z.enum(['public', 'open', 'failing'])

export const WorkerItem = z
  .object({
    worker_id: z.string(),
    pool: z.string().describe('What `worker_host` of a run names.'),
    kind: z.enum(['docker', 'direct']),
    version: z.string(),
    state: z
      .enum(workerStates)
      .describe(
        '`draining`: takes no new run. `drained`: holds none any more, and may be stopped. `gone`: has not reported for 45 s.',
      ),
    capacity: z.number().int().describe('Runs that it holds at once.'),
    in_use: z.number().int().describe('Runs that it held at its last report, with kept sandboxes.'),
    connected_at: z.iso.datetime().describe('When it reported for the first time.'),
    last_seen_at: z.iso.datetime(),
    draining_at: z.iso.datetime().nullable(),
    egress: EgressState.nullable().describe(
      'What its sandboxes reach: `public`, the internet and nothing private; `open`, all that the machine does. `failing`: the rules against private networks could not be set at the last look, and it starts no sandbox until they are. Null: it does not say.',
    ),
    key_uid: z.uuid().nullable().describe('The worker key of its last report. Null: AMBIENT_WORKER_KEY.'),
  })
  .meta({ id: 'Worker' })
export type WorkerItem = z.infer<typeof WorkerItem>

export const WorkerKeyItem = z
  .object({
    uid: z.uuid(),
    name: z.string(),
    key_prefix: z.string(),
    pool: z.string().nullable().describe('The only pool that hosts with this key may be of. Null: any.'),
    created_at: z.iso.datetime(),
    last_used_at: z.iso.datetime().nullable(),
  })
  .meta({ id: 'WorkerKey' })
export type WorkerKeyItem = z.infer<typeof WorkerKeyItem>

/** Body of `POST /agent/workers/keys`. */
export const NewWorkerKey = z
  .object({ name: z.string().trim().min(1).max(100), pool: HostName.nullish() })
  .meta({ id: 'NewWorkerKey' })

export const WorkerList = z.object({ workers: z.array(WorkerItem) })
export const WorkerKeyList = z.object({ keys: z.array(WorkerKeyItem) })

/** The key itself is shown this once. */
export const CreatedWorkerKey = WorkerKeyItem.extend({ key: z.string() }).meta({ id: 'CreatedWorkerKey' })

/** `GET /agent/connected-self-hosted-workers`, as Oz has it: one entry for each name that `worker_host` can have. */
export const ConnectedWorkers = z.object({
  workers: z.array(
    z.object({
      worker_host: z.string(),
      connection_count: z.number().int(),
      connected_at: z.iso.datetime(),
      last_seen_at: z.iso.datetime(),
    }),
  ),
})
