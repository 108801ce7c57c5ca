// What a share link opens.
import { z } from 'zod'
import { shareLevels } from './permission.ts'
import { RunItem } from './run.ts'

/** `GET /r/{token}` */
export const SharedRun = z
  .object({
    level: z.enum(shareLevels).describe('`steer` counts for somebody who has signed in, or comes with a key.'),
    run: RunItem,
    urls: z
      .object({ run: z.string(), events: z.string() })
      .describe('Where the API has them; the token of the link goes with each request, in the header X-Ambient-Share.'),
  })
  .meta({ id: 'SharedRun' })
export type SharedRun = z.infer<typeof SharedRun>
