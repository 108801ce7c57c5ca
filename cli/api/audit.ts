// The audit log as the command line reads it.
import type { AuditPage, AuditVerification } from '../../domain/audit.ts'
import type { Requests } from './requests.ts'

export interface AuditApi {
  list(query: Readonly<Record<string, string | readonly string[] | undefined>>): Promise<AuditPage>
  /** `known`: an entry that was noted elsewhere, as `position:hash`. */
  verify(known: string | undefined): Promise<AuditVerification>
}

/** A log of many entries takes its time. */
const VERIFY_TIMEOUT_MS = 30 * 60_000

export const createAuditApi = (base: string, { steady, json }: Requests): AuditApi => ({
  list: (query) => {
    const search = new URLSearchParams()
    for (const [name, value] of Object.entries(query))
      for (const one of value === undefined ? [] : [value].flat()) search.append(name, one)
    return json(steady(`${base}?${search}`))
  },
  verify: (known) => {
    const query = known === undefined ? '' : `?known=${encodeURIComponent(known)}`
    return json(steady(`${base}/verify${query}`, () => ({ signal: AbortSignal.timeout(VERIFY_TIMEOUT_MS) })))
  },
})
