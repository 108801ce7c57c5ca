// The audit log as it is served.
import { z } from 'zod'
import { cursor, PageInfo, pageLimit } from './page.ts'

export const actorTypes = ['operator', 'user', 'service_account', 'unknown', 'system'] as const

export const AuditEntry = z
  .object({
    position: z.number().int().min(1).describe('Entries count up from 1 in the order of their commits, without holes.'),
    occurred_at: z.iso.datetime(),
    action: z
      .string()
      .describe('What was done: an action of the permission table, or a word such as `sign_in.refused`.'),
    actor: z.object({
      type: z
        .enum(actorTypes)
        .describe(
          '`operator`: the key of the settings. `unknown`: nobody was recognised. `system`: the server by itself.',
        ),
      uid: z.string(),
      name: z.string().nullable().describe('As it was then.'),
      key_uid: z.string().nullable().describe('The API key or the browser session that it was done with.'),
    }),
    address: z.string().nullable().describe('Where the request came from, as AMBIENT_TRUST_PROXY lets it be known.'),
    user_agent: z.string().nullable(),
    team: z.string().nullable().describe('Null: about no team.'),
    thing: z.object({ type: z.string(), uid: z.string() }).nullable().describe('What it was done to.'),
    detail: z.record(z.string(), z.unknown()),
    hash: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .describe('SHA-256 of the hash before it and of this entry.'),
  })
  .meta({ id: 'AuditEntry' })
export type AuditEntry = z.infer<typeof AuditEntry>

const time = z.iso.datetime({ offset: true }).optional()

/** `GET /agent/audit-log` */
export const AuditQuery = z.object({
  limit: pageLimit(50),
  cursor,
  sort_order: z.enum(['desc', 'asc']).default('desc').describe('By position: the newest first, or the oldest.'),
  created_after: time.describe('At or after.'),
  created_before: time.describe('Before.'),
  actor: z.string().optional().describe('The uid of who did it.'),
  actor_type: z.enum(actorTypes).optional().describe('What kind of somebody did it.'),
  action: z.array(z.string()).optional().describe('Repeated for several.'),
  thing_type: z.string().optional().describe('Such as `run`, `environment`, `api_key`.'),
  thing: z.string().optional().describe('The uid of what it was done to.'),
  all: z
    .boolean()
    .optional()
    .describe('True: entries about all teams, and about none. Only with the admin key of the settings.'),
})

/** `GET /agent/audit-log/verify` */
export const AuditVerifyQuery = z.object({
  known: z
    .string()
    .optional()
    .describe('An entry that was noted elsewhere before, as `position:hash`: whether it is still there unchanged.'),
})

export const AuditPage = z.object({ entries: z.array(AuditEntry), page_info: PageInfo }).meta({ id: 'AuditPage' })
export type AuditPage = z.infer<typeof AuditPage>

export const AuditVerification = z
  .object({
    intact: z.boolean(),
    head: z
      .object({ position: z.number().int(), hash: z.string() })
      .describe('The newest entry. Noted elsewhere, it shows later on whether the log was written anew or cut off.'),
    broken_at: z.number().int().nullable().describe('The first entry that is not what was written. Null: none.'),
    known: z.enum(['found', 'missing']).nullable().describe('Whether the entry that was asked for is there unchanged.'),
  })
  .meta({ id: 'AuditVerification' })
export type AuditVerification = z.infer<typeof AuditVerification>
