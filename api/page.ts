// One page of a list: how long it may be, and where the next one begins.
import type { z } from 'zod'
import { PAGE_LIMIT } from '../domain/limits.ts'
import type { PageInfo } from '../domain/page.ts'
import { wholeNumber } from './parse.ts'

/** The query's `limit`; `normal` where it has none. */
export function limitOf(query: URLSearchParams, normal: number, most: number = PAGE_LIMIT): number {
  const text = query.get('limit')
  return text === null ? normal : wholeNumber(text, 'limit', 1, most)
}

/** `next`: the cursor of the page after; null on the last one. */
export const pageInfo = (next: string | null): z.infer<typeof PageInfo> =>
  next === null ? { has_next_page: false } : { has_next_page: true, next_cursor: next }

/** The page of what was found by asking for one entry more than it may have. */
export function cutPage<T>(
  found: readonly T[],
  limit: number,
  cursorOf: (last: T) => string,
): { page: T[]; info: z.infer<typeof PageInfo> } {
  const page = found.slice(0, limit)
  const last = page.at(-1)
  return { page, info: pageInfo(found.length > limit && last !== undefined ? cursorOf(last) : null) }
}
