// The work product of a run, as it is served.
import { z } from 'zod'
import { RepositoryResult } from './host-api.ts'

/** `GET /agent/runs/{id}/diff` */
export const ResultQuery = z.object({
  format: z
    .enum(['patch', 'json', 'bundle'])
    .default('patch')
    .describe(
      '`patch`: as `git apply` takes it. `json`: what changed, in figures. `bundle`: the commits, for `git fetch`.',
    ),
  repo: z.string().optional().describe('Only this repository, by its path in the workspace. A bundle is of one.'),
})

export const ResultItem = RepositoryResult.omit({ patch: true, bundle: true })
  .extend({
    push: RepositoryResult.shape.push.unwrap().optional(),
    execution: z.number().int(),
    patch_bytes: z.number().int().nullable().describe('Null: not kept.'),
    bundle_bytes: z.number().int().nullable().describe('Null: not kept, or nothing was changed.'),
  })
  .meta({ id: 'RepositoryResult' })

export const Results = z.object({ repositories: z.array(ResultItem) })
