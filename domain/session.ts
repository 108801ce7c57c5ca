// Browser sessions, as they are served and asked for.
import { z } from 'zod'
import { Uid } from './account.ts'
import { scopes } from './permission.ts'

/** The header that a browser's session needs for everything that changes something. */
export const CSRF_HEADER = 'x-ambient-csrf'

/** The header of the API, and the parameter of its URLs, that hold the token of a share link. */
export const SHARE_HEADER = 'x-ambient-share'
export const SHARE_PARAMETER = 'share'

/** Body of `POST /auth/login`. */
export const SignIn = z
  .object({
    key: z.string().trim().min(1).max(1_000).describe('A person’s own API key, or the admin key of the settings.'),
    return_to: z.string().max(2_000).optional().describe('Path of this server to go to then.'),
  })
  .meta({ id: 'SignIn' })

/** Body of `POST /auth/logout`. */
export const SignOut = z
  .object({
    everywhere: z.union([z.boolean(), z.literal('true').transform(() => true)]).default(false),
    csrf_token: z.string().max(200).optional().describe(`For forms, instead of the header ${CSRF_HEADER}.`),
  })
  .meta({ id: 'SignOut' })

/** `GET /auth/session`: who the browser is signed in as, and how it could sign in. */
export const SessionAnswer = z
  .object({
    signed_in: z.boolean(),
    session: z
      .object({
        uid: Uid,
        type: z.enum(['operator', 'user']),
        person_uid: z.string().describe('`operator`: whoever has the admin key of the settings.'),
        display_name: z.string(),
        email: z.string().nullable(),
        scope: z.enum(scopes).describe('That of the key which it was begun with; `admin` by a provider.'),
        expires_at: z.iso.datetime(),
        csrf_token: z.string().describe(`To be sent as ${CSRF_HEADER} with everything that changes something.`),
      })
      .nullable(),
    methods: z.object({
      key: z.literal(true),
      oidc: z.object({ provider: z.string(), url: z.string() }).nullable().describe('Null: there is no provider.'),
    }),
  })
  .meta({ id: 'Session' })
export type SessionAnswer = z.infer<typeof SessionAnswer>

export const SessionItem = z
  .object({
    uid: Uid,
    current: z.boolean().describe('The one that asks.'),
    address: z.string().describe('Where it was begun.'),
    user_agent: z.string().nullable(),
    created_at: z.iso.datetime(),
    last_used_at: z.iso.datetime().describe('To the minute.'),
    expires_at: z.iso.datetime(),
  })
  .meta({ id: 'SessionItem' })
export type SessionItem = z.infer<typeof SessionItem>

export const SessionList = z.object({ sessions: z.array(SessionItem) }).meta({ id: 'SessionList' })
