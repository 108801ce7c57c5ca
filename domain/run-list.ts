// Lists of runs: what can be asked for, and the answer.
import { z } from 'zod'
import { artifactTypes } from './artifact.ts'
import { cursor, PageInfo, pageLimit } from './page.ts'
import { RunItem } from './run.ts'
import { runStates } from './state.ts'

const time = z.union([z.iso.datetime({ offset: true }), z.iso.date()]).optional()
const oneOrMore = <T extends z.ZodType>(value: T) => z.array(value).optional()

/** `GET /agent/runs` */
export const RunListQuery = z
  .object({
    limit: pageLimit(20),
    cursor,
    sort_by: z
      .enum(['updated_at', 'created_at', 'title', 'agent'])
      .default('updated_at')
      .describe('`agent`: the skill that the run works by; runs without one come last, in either order.'),
    sort_order: z.enum(['asc', 'desc']).default('desc').describe('Which end of that order comes first.'),
    state: oneOrMore(z.enum(runStates)).describe('Repeated for several.'),
    task_status: oneOrMore(z.enum(['running', 'failed', 'blocked', 'cancelled', 'complete'])).describe(
      'Coarser than `state`; both together find what is in either.',
    ),
    source: oneOrMore(z.string()).describe(
      'Where they come from, such as `API` or `SCHEDULED_AGENT`. Repeated for several.',
    ),
    name: z.string().optional().describe('`config.name`.'),
    model_id: z.string().optional().describe('The model that was asked for.'),
    q: z
      .string()
      .optional()
      .describe(
        'Words of the title, the prompt or the names of its skills, or their beginnings, in any order; an id or the beginning of one; a URL with an id. Where nothing fits, a word may be spelled a little differently.',
      ),
    creator: z.string().optional().describe('Uid, or e-mail address, of whoever made it.'),
    executor: z.string().optional().describe('Uid, or e-mail address, of as whom it works.'),
    shared: z.boolean().optional().describe('True: only runs, of whatever team, that are shared with the caller.'),
    created_after: time.describe('Later than this: a time, or a day of UTC from its beginning.'),
    created_before: time.describe('Earlier than this.'),
    updated_after: time.describe('Runs with which something has happened later than this.'),
    environment_id: z.string().optional().describe('`empty-environment`: runs without a stored environment.'),
    artifact_type: z
      .array(z.enum(artifactTypes))
      .optional()
      .describe('Repeated for several: runs that have handed over one of them.'),
    schedule_id: z.string().optional().describe('Runs that this schedule has made.'),
    skill: z.string().optional().describe('Runs that work by this skill: `owner/repo:path`, or as a run may name it.'),
    skill_spec: z.string().optional().describe('The same.'),
    ancestor_run_id: z.uuid().optional().describe('Every run below this one.'),
    execution_location: z.enum(['LOCAL', 'REMOTE']).optional().describe('Every run of this server is `REMOTE`.'),
    automation_id: z.string().optional().describe('No run of this server has one: nothing is found.'),
    factory_uid: z.string().optional().describe('As `automation_id`.'),
    metadata: z
      .record(z.string(), z.string())
      .optional()
      .describe('`metadata[key]=value`, at most 5; all have to fit.'),
  })
  .meta({ id: 'RunListQuery' })

export const RunPage = z.object({ runs: z.array(RunItem), page_info: PageInfo }).meta({ id: 'RunPage' })
