// `GET /healthz`.
import { z } from 'zod'

export const Health = z
  .object({
    status: z.enum(['ok', 'unavailable']),
    version: z.string(),
    checks: z.record(z.string(), z.string()).describe('Each part: `ok`, or what is wrong with it.'),
  })
  .meta({ id: 'Health' })
