// Pages of lists.
import { z } from 'zod'
import { PAGE_LIMIT } from './limits.ts'

export const PageInfo = z
  .object({
    has_next_page: z.boolean(),
    next_cursor: z
      .string()
      .optional()
      .describe('For the next page, with the same query otherwise. Absent on the last one.'),
  })
  .meta({ id: 'PageInfo' })

export const pageLimit = (normal: number, most: number = PAGE_LIMIT) =>
  z.number().int().min(1).max(most).optional().describe(`Entries of a page; ${normal} unless given.`)

export const cursor = z.string().optional().describe('`next_cursor` of the page before.')
