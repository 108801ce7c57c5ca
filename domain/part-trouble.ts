// What the supervisor leaves for the server to tell: which of its parts keeps ending.
import { z } from 'zod'

/** The content of `parts/<name>.trouble.json` in the data directory; the file is there while the part keeps ending. */
export const PartTrouble = z.object({
  how: z.string(),
  /** How often in a row. */
  count: z.int(),
  at: z.iso.datetime(),
})
export type PartTrouble = z.infer<typeof PartTrouble>

export const partTroubleFile = (dataDirectory: string, part: string): string =>
  `${dataDirectory}/parts/${part}.trouble.json`
