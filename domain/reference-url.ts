// URLs of what runs have made elsewhere, in the form in which they are looked up.
import { z } from 'zod'

/** Of `GET /agent/run-by-external-reference`. */
export const ReferenceQuery = z.object({
  url: z
    .string()
    .describe('A pull request, a ticket, a message: as an agent has named it. Its spelling does not matter.'),
})

/** Answer of `GET /agent/run-by-external-reference?url=`. */
export const RunByReference = z.object({ run_id: z.uuid() }).meta({ id: 'RunByReference' })

/**
 * One form for all spellings of a URL: without scheme, fragment and trailing
 * slashes, the host in small letters, the query's parameters in order. Null for
 * what is no http(s) URL.
 */
export function referenceKey(url: string): string | null {
  const parsed = URL.parse(url.trim())
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) return null
  parsed.searchParams.sort()
  const query = parsed.searchParams.toString()
  const path = parsed.pathname.replace(/\/+$/, '')
  return `${parsed.host}${path}${query === '' ? '' : `?${query}`}`
}
