// With whom a run is shared, beside its team.
import { z } from 'zod'
import { Email, Profile, TeamUid, Uid } from './account.ts'
import { shareLevels } from './permission.ts'

const Level = z
  .enum(shareLevels)
  .describe('`view`: to see the run. `steer`: also to send messages, to answer and to cancel.')

/** Body of `POST /agent/runs/{id}/shares`. Whoever has a share already gets this one in its place. */
export const NewShare = z
  .object({
    with: z.enum(['person', 'team', 'link']),
    person: z.union([Uid, Email]).nullish().describe('Uid or e-mail address. Needed with `person`.'),
    team: TeamUid.nullish().describe('Absent: the team of the run. Only with `team`.'),
    level: Level,
    public: z
      .boolean()
      .nullish()
      .describe('Of a link: good also for somebody who has not signed in, to view. Absent: no.'),
    expires_at: z.iso.datetime({ offset: true }).nullish().describe('Absent: never.'),
  })
  .meta({ id: 'NewRunShare' })
export type NewShare = z.infer<typeof NewShare>

export const ShareItem = z
  .object({
    uid: Uid,
    run_id: z.uuid(),
    with: z.enum(['person', 'team', 'link']),
    person: Profile.nullable(),
    team: z.object({ uid: TeamUid, name: z.string() }).nullable(),
    level: Level,
    public: z.boolean(),
    expires_at: z.iso.datetime().nullable(),
    created_at: z.iso.datetime(),
    created_by: Profile,
    token: z.string().optional().describe('Of a link. Shown this once; kept as a hash.'),
    url: z.string().optional().describe('What opens the run in a browser, with the token. Shown this once.'),
  })
  .meta({ id: 'RunShare' })
export type ShareItem = z.infer<typeof ShareItem>

export const ShareList = z.object({ shares: z.array(ShareItem) }).meta({ id: 'RunShareList' })
