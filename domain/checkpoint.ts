// Checkpoints of a run, and the runs that begin from one.
import { z } from 'zod'
import { cursor, PageInfo, pageLimit } from './page.ts'

/** What a host says of a checkpoint that it hands over. */
export const CheckpointSummary = z.object({
  taken_at: z.iso.datetime(),
  /** The message whose turn was the last before it. */
  message_id: z.uuid().nullable(),
  /** The agent has a session to go on with. */
  session: z.boolean(),
  repositories: z.array(
    z.object({
      path: z.string(),
      head_commit: z.string().nullable(),
      branch: z.string().nullable(),
      /** Files that differ from the start of the run. */
      files_changed: z.number().int().min(0),
    }),
  ),
  /** What of the workspace is not in it, each said for people. */
  left_out: z.array(z.string()),
})
export type CheckpointSummary = z.infer<typeof CheckpointSummary>

/** A line of this length at most comes before the bytes of a checkpoint. */
export const SUMMARY_BYTES = 256 * 1024

/** `GET /agent/runs/{id}/checkpoints` */
export const CheckpointItem = z
  .object({
    checkpoint_id: z.uuid(),
    run_id: z.uuid(),
    number: z.number().int().describe('Counts from 1 within the run.'),
    execution: z.number().int(),
    message_id: z.uuid().nullable().describe('The message whose turn it was taken after.'),
    taken_at: z.iso.datetime(),
    bytes: z.number().int().describe('As it is stored, compressed.'),
    files_changed: z.number().int().nullable().describe('In all repositories, since the start of the run.'),
    repositories: CheckpointSummary.shape.repositories,
    session: z.boolean().describe("The agent's session is in it."),
    left_out: z.array(z.string()).describe('What of the workspace is not in it.'),
    newest: z.boolean().describe('The run itself would go on from this one.'),
    late: z
      .boolean()
      .describe(
        'Of a host that came back after another one had taken the run over. Good for a fork; the run itself never goes on from it.',
      ),
  })
  .meta({ id: 'CheckpointItem' })
export type CheckpointItem = z.infer<typeof CheckpointItem>

export const ForkSession = z.enum(['continue', 'fresh'])
export type ForkSession = z.infer<typeof ForkSession>

/** `fork_from` of `POST /agent/runs`. */
export const ForkFrom = z
  .object({
    run_id: z.uuid(),
    checkpoint: z
      .union([z.number().int().min(1), z.uuid()])
      .nullish()
      .describe('Number or id of one of its checkpoints. Absent: the newest.'),
    session: ForkSession.nullish().describe(
      'Whether the agent knows what was said in that run. Absent: `continue` where the agent is the same, else `fresh`.',
    ),
  })
  .meta({ id: 'ForkFrom' })
export type ForkFrom = z.infer<typeof ForkFrom>

/** `forked_from` of a run. */
export const ForkedFrom = z.object({
  run_id: z.uuid(),
  checkpoint: z.number().int(),
  session: ForkSession,
})
export type ForkedFrom = z.infer<typeof ForkedFrom>

export const CheckpointQuery = z.object({ limit: pageLimit(20), cursor })
export const CheckpointPage = z.object({ checkpoints: z.array(CheckpointItem), page_info: PageInfo })
