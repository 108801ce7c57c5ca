// API keys, as they are served and asked for.
import { z } from 'zod'
import { Email, Profile, TeamUid, Uid } from './account.ts'
import { scopes } from './permission.ts'

const ScopeName = z.enum(scopes).describe('What the key is good for at most. Each contains those before it.')

export const ApiKeyItem = z
  .object({
    uid: Uid,
    name: z.string(),
    key_prefix: z.string().describe('The beginning of the key, by which people tell keys apart.'),
    owner: Profile.describe('Who is let in with it.'),
    team: TeamUid.nullable().describe('The only team that it is good for. Null: all of its owner’s.'),
    scope: ScopeName,
    created_at: z.iso.datetime(),
    created_by: Profile,
    made_with: Uid.nullable().describe(
      'The key that it was made with, or that its maker had signed in with. Null: the admin key, or a sign-in without one.',
    ),
    expires_at: z.iso.datetime().nullable(),
    last_used_at: z.iso.datetime().nullable().describe('To the minute.'),
  })
  .meta({ id: 'ApiKey' })
export type ApiKeyItem = z.infer<typeof ApiKeyItem>

export const ApiKeyList = z.object({ keys: z.array(ApiKeyItem) }).meta({ id: 'ApiKeyList' })

/** Query of `DELETE /agent/api-keys/{uid}`. */
export const RevokeKey = z.object({
  cascade: z
    .boolean()
    .default(false)
    .describe('Also all keys that were made with it, and with those, as far as the caller may revoke them.'),
})

/** Body of `POST /agent/api-keys`. */
export const NewApiKey = z
  .object({
    name: z
      .string()
      .trim()
      .min(1)
      .max(200)
      .refine((value) => !/\p{Cc}/u.test(value), { error: 'must not have control characters' }),
    scope: ScopeName.default('run'),
    agent_uid: Uid.nullish().describe('A service account of the team, whose key it is to be. Absent: one’s own key.'),
    person: z
      .union([Uid, Email])
      .nullish()
      .describe('Uid or e-mail address of whose key it is to be. Only the operator names one.'),
    team: TeamUid.nullish().describe('The only team that the key is good for. Absent: all of the person’s.'),
    expires_at: z.iso
      .datetime({ offset: true })
      .nullish()
      .describe('Absent: never, or together with the key that it is made with.'),
  })
  .meta({ id: 'NewApiKey' })
export type NewApiKey = z.infer<typeof NewApiKey>

/** The answer to it: the only one that has the key itself. */
export const CreatedApiKey = ApiKeyItem.extend({ key: z.string().describe('Shown this once; kept as a hash.') }).meta({
  id: 'CreatedApiKey',
})
