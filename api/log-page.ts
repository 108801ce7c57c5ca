// One page of what is only ever added to, by the positions of its entries.

import type { z } from 'zod'
import type { PageInfo } from '../domain/page.ts'
import { cutPage, limitOf } from './page.ts'
import { wholeNumber } from './parse.ts'
import { oneOf } from './runs/list-query.ts'

const DEFAULT_LIMIT = 50

/** Which part of all entries is read. */
export interface LogRange {
  /** Position of the last one that is known; null: from the beginning, or from the end. */
  after: number | null
  limit: number
  newestFirst: boolean
}

/** The page that a query asks for, by its `limit`, `cursor` and `sort_order`. */
export async function logPage<T extends { position: number }>(
  query: URLSearchParams,
  find: (range: LogRange) => Promise<T[]>,
): Promise<{ entries: T[]; page_info: z.infer<typeof PageInfo> }> {
  const limit = limitOf(query, DEFAULT_LIMIT)
  const cursor = query.get('cursor')
  const found = await find({
    after: cursor ? wholeNumber(cursor, 'cursor', 0, Number.MAX_SAFE_INTEGER) : null,
    limit: limit + 1,
    newestFirst: oneOf(query, 'sort_order', ['desc', 'asc']) !== 'asc',
  })
  const { page, info } = cutPage(found, limit, (last) => String(last.position))
  return { entries: page, page_info: info }
}
