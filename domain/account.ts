// Teams, people and their membership, as they are served and asked for.
import { z } from 'zod'
import { roles, scopes } from './permission.ts'
import { TeamLimits, TeamLimitsChange } from './team-limits.ts'

/** Of a team: the word `default`, or as {@link Uid}. */
export const TeamUid = z.string().regex(/^(default|[A-Za-z0-9]{22})$/, 'must be the uid of a team')

export const Uid = z.string().regex(/^[A-Za-z0-9]{22}$/, 'must be 22 letters and digits')

const name = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .refine((value) => !/\p{Cc}/u.test(value), { error: 'must not have control characters' })

export const Email = z
  .string()
  .trim()
  .max(320)
  .regex(/^[^\s@]+@[^\s@]+$/, 'must be an e-mail address')
  .transform((address) => address.toLowerCase())

export const RoleName = z.enum(roles).describe('What the person may do in the team. Each contains those after it.')

/** Oz's UserProfile: somebody as others see them. */
export const Profile = z
  .object({
    type: z.enum(['user', 'service_account']),
    uid: z.string().describe('`operator`: whoever has the admin key of the settings.'),
    display_name: z.string().nullable(),
    email: z.string().nullable(),
    photo_url: z.string().nullable(),
  })
  .meta({ id: 'UserProfile' })
export type Profile = z.infer<typeof Profile>

/** Oz's Scope: whose a thing is. */
export const Ownership = z
  .object({ type: z.enum(['User', 'Team']), uid: z.string().describe('Of the user or the team.') })
  .meta({ id: 'Scope' })
export type Ownership = z.infer<typeof Ownership>

export const TeamItem = z
  .object({
    uid: TeamUid,
    name: z.string(),
    role: z.enum(roles).describe('That of whoever asks.'),
    run_limit: z.number().int().describe('Runs of the team that are at work at once; further ones wait in line.'),
    limits: TeamLimits.describe('The most that any of its runs may take.'),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: 'Team' })
export type TeamItem = z.infer<typeof TeamItem>

export const TeamList = z.object({ teams: z.array(TeamItem) }).meta({ id: 'TeamList' })

const runLimit = z.number().int().min(1).max(1_000_000)

/** Body of `POST /agent/teams`. */
export const NewTeam = z
  .object({
    name,
    run_limit: runLimit.nullish().describe('Absent: AMBIENT_TEAM_RUNS.'),
    limits: TeamLimitsChange.nullish().describe('Absent: none beside those of the server.'),
  })
  .meta({ id: 'NewTeam' })

/** Body of `PATCH /agent/teams/{uid}`. What is absent stays. */
export const TeamChange = z
  .object({
    name: name.optional(),
    run_limit: runLimit.nullable().optional().describe('Null: AMBIENT_TEAM_RUNS from now on.'),
    limits: TeamLimitsChange.optional().describe('Of new runs. What is absent stays; null takes a limit away.'),
  })
  .meta({ id: 'TeamChange' })
export type TeamChange = z.infer<typeof TeamChange>

/** The answer to the deletion of a team or a person: what went with it. */
export const RemovedAccount = z
  .object({
    cancelled_runs: z.number().int().describe('Runs that are being cancelled.'),
    deleted_schedules: z.number().int(),
    revoked_keys: z.number().int(),
  })
  .meta({ id: 'RemovedAccount' })
export type RemovedAccount = z.infer<typeof RemovedAccount>

export const MemberItem = z
  .object({
    uid: Uid.describe('Of the person.'),
    email: z.string(),
    display_name: z.string(),
    photo_url: z.string().nullable(),
    role: RoleName,
    joined_at: z.iso.datetime(),
    disabled: z.boolean().describe('The person gets in nowhere.'),
  })
  .meta({ id: 'Member' })
export type MemberItem = z.infer<typeof MemberItem>

export const MemberList = z.object({ members: z.array(MemberItem) }).meta({ id: 'MemberList' })

/** Body of `POST /agent/teams/{uid}/members`. */
export const NewMember = z
  .object({
    email: Email.describe('Of the person, who is made where there is none with this address.'),
    display_name: name.optional().describe('Of a person who is made. Absent: the address.'),
    role: RoleName.default('member'),
  })
  .meta({ id: 'NewMember' })

/** Body of `PATCH /agent/teams/{uid}/members/{person}`. */
export const MemberChange = z.object({ role: RoleName }).meta({ id: 'MemberChange' })

export const PersonItem = z
  .object({
    uid: Uid,
    email: z.string(),
    display_name: z.string(),
    photo_url: z.string().nullable(),
    disabled: z.boolean().describe('Gets in nowhere: keys and sessions are refused.'),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
    teams: z
      .array(z.object({ uid: TeamUid, name: z.string(), role: RoleName }))
      .describe('For the operator all of them, for others those that they are in themselves.'),
  })
  .meta({ id: 'Person' })
export type PersonItem = z.infer<typeof PersonItem>

export const PersonList = z
  .object({
    people: z.array(PersonItem),
    page_info: z.object({ has_next_page: z.boolean(), next_cursor: z.string().optional() }),
  })
  .meta({ id: 'PersonList' })

/** Body of `POST /agent/people`. */
export const NewPerson = z
  .object({ email: Email, display_name: name.optional().describe('Absent: the address.') })
  .meta({ id: 'NewPerson' })

/** Body of `PATCH /agent/people/{uid}`. What is absent stays. */
export const PersonChange = z
  .object({ email: Email.optional(), display_name: name.optional(), disabled: z.boolean().optional() })
  .meta({ id: 'PersonChange' })
export type PersonChange = z.infer<typeof PersonChange>

/** `GET /agent/me`. */
export const Me = z
  .object({
    type: z.enum(['operator', 'user', 'service_account']),
    uid: z.string(),
    display_name: z.string(),
    email: z.string().nullable(),
    team: z
      .object({ uid: TeamUid, name: z.string() })
      .describe('The one that requests with this key and header are about.'),
    role: z.enum(roles).nullable().describe('In that team. Null: let in by a share alone.'),
    scope: z.enum(scopes).describe('What the key is good for at most.'),
    teams: z.array(TeamItem),
    key: z
      .object({ uid: Uid, expires_at: z.iso.datetime().nullable() })
      .nullable()
      .describe('Null: the key of the settings, or a session.'),
    may: z
      .array(z.string())
      .describe('The actions that are allowed in the active team, by their names in docs/permissions.md.'),
  })
  .meta({ id: 'Me' })
export type Me = z.infer<typeof Me>
