// Agent profiles: what many runs have in common, kept in one place under a name.
import { z } from 'zod'
import { PageInfo } from '../page.ts'
import { AgentConfig } from '../run.ts'
import { itemFields, ownerField, servedFields, versionField } from './shared-item.ts'

/** What a profile may say: the fields of a run's `config`, but for those that are about one run. */
export const ProfileConfig = AgentConfig.omit({
  name: true,
  profile: true,
  profile_version: true,
  session_sharing: true,
}).meta({ id: 'AgentProfileConfig' })
export type ProfileConfig = z.infer<typeof ProfileConfig>

const fields = {
  ...itemFields,
  config: ProfileConfig.default({}).describe('As in the request of a run.'),
  default: z
    .boolean()
    .default(false)
    .describe('It holds for all runs of the team for which no other profile is named. One of a team has it.'),
}

/** Body of `POST /agent/profiles`. */
export const NewAgentProfile = z.object({ ...fields, ...ownerField }).meta({ id: 'NewAgentProfile' })

/** Body of `PUT /agent/profiles/{uid}`, which replaces everything. */
export const AgentProfileChange = z.object({ ...fields, ...versionField }).meta({ id: 'AgentProfileChange' })

export const AgentProfile = z
  .object({ ...servedFields, default: z.boolean(), config: z.record(z.string(), z.unknown()) })
  .meta({ id: 'AgentProfile' })
export type AgentProfile = z.infer<typeof AgentProfile>

export const AgentProfileList = z
  .object({ profiles: z.array(AgentProfile).describe('By name.'), page_info: PageInfo })
  .meta({ id: 'AgentProfileList' })
