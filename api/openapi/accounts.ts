import { z } from 'zod'
import {
  Me,
  MemberChange,
  MemberItem,
  MemberList,
  NewMember,
  NewPerson,
  NewTeam,
  PersonChange,
  PersonItem,
  PersonList,
  RemovedAccount,
  TeamChange,
  TeamItem,
  TeamList,
} from '../../domain/account.ts'
import { ApiKeyList, CreatedApiKey, NewApiKey, RevokeKey } from '../../domain/api-key.ts'
import { IdentityChange, IdentityItem, IdentityList, NewIdentity } from '../../domain/identity.ts'
import { PAGE_LIMIT } from '../../domain/limits.ts'
import { NewShare, ShareItem, ShareList } from '../../domain/share.ts'
import { noTeamLimits } from '../../domain/team-limits.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt, environmentUid, operator, runId, updatedAt } from './examples.ts'

const personUid = 'Pm4kX9sQw2Lr7Tb1Vn6Yc3'
const agentUid = 'Ag8dR5hJz3Kf1Wq7Ex2Us9'
const someTeam = 'Tm2bN6vGy8Dp4Hs9Ct5La1'

const team = {
  uid: someTeam,
  name: 'Platform',
  role: 'admin',
  run_limit: 1000,
  limits: { ...noTeamLimits, max_run_minutes: 480 },
  created_at: createdAt,
  updated_at: updatedAt,
}

const profile = {
  type: 'user',
  uid: personUid,
  display_name: 'Sam Doe',
  email: 'sam@example.org',
  photo_url: null,
}

const member = {
  uid: personUid,
  email: 'sam@example.org',
  display_name: 'Sam Doe',
  photo_url: null,
  role: 'member',
  joined_at: createdAt,
  disabled: false,
}

const person = {
  uid: personUid,
  email: 'sam@example.org',
  display_name: 'Sam Doe',
  photo_url: null,
  disabled: false,
  created_at: createdAt,
  updated_at: updatedAt,
  teams: [{ uid: someTeam, name: 'Platform', role: 'member' }],
}

const key = {
  uid: 'Ky7fC1xBt4Mo9Zj2Pe6Rv8',
  name: 'laptop',
  key_prefix: 'wk-4f0c2b7d',
  owner: profile,
  team: null,
  scope: 'run',
  created_at: createdAt,
  created_by: profile,
  made_with: null,
  expires_at: null,
  last_used_at: updatedAt,
}

const identity = {
  uid: agentUid,
  name: 'Nightly maintenance',
  available: true,
  is_default: false,
  description: 'Keeps dependencies up to date',
  prompt: 'Change as little as possible.',
  environment_id: environmentUid,
  base_model: null,
  base_harness: 'codex',
  harness: { type: 'codex' },
  harness_auth_secrets: null,
  inference_providers: null,
  mcp_servers: {},
  secrets: [],
  skills: [],
  memory: { auto_memory: { enabled: false }, attached_stores: [] },
  worker_host: null,
  profile_uid: null,
  credential_strategy: null,
  agent_type: 'CUSTOM',
  default_runner_uid: '',
  factory_uid: null,
  on_behalf_of_enabled: false,
  team: someTeam,
  created_at: createdAt,
  updated_at: updatedAt,
}

const share = {
  uid: 'Sh5gW3nKd8Va2Qi6Jy9Uf4',
  run_id: runId,
  with: 'person',
  person: profile,
  team: null,
  level: 'view',
  public: false,
  expires_at: null,
  created_at: createdAt,
  created_by: operator,
}

export const accounts: Section = {
  name: 'Teams and people',
  description: 'Who is here, and what they may do. `docs/permissions.md` has the table.',
  routes: [
    {
      method: 'get',
      path: '/agent/me',
      id: 'getMe',
      summary: 'See who one is',
      answers: {
        200: json(Me, {
          type: 'user',
          uid: personUid,
          display_name: 'Sam Doe',
          email: 'sam@example.org',
          team: { uid: someTeam, name: 'Platform' },
          role: 'admin',
          scope: 'run',
          teams: [team],
          key: { uid: key.uid, expires_at: null },
          may: ['account.view', 'runs.view', 'runs.create'],
        }),
      },
    },
    {
      method: 'get',
      path: '/agent/teams',
      id: 'listTeams',
      summary: 'List one’s teams',
      description: 'The operator, who has the admin key of the settings, sees all.',
      answers: { 200: json(TeamList, { teams: [team] }) },
    },
    {
      method: 'post',
      path: '/agent/teams',
      id: 'createTeam',
      summary: 'Make a team',
      description: 'Only for the operator.',
      body: { schema: NewTeam, example: { name: 'Platform' } },
      idempotent: true,
      answers: { 201: json(TeamItem, team) },
    },
    {
      method: 'get',
      path: '/agent/teams/{team}',
      id: 'getTeam',
      summary: 'Read a team',
      answers: { 200: json(TeamItem, team) },
    },
    {
      method: 'patch',
      path: '/agent/teams/{team}',
      id: 'changeTeam',
      summary: 'Rename a team, or set its limits',
      description: 'Only for the operator.',
      body: { schema: TeamChange, example: { run_limit: 50, limits: { max_run_minutes: 240 } } },
      answers: { 200: json(TeamItem, { ...team, run_limit: 50, limits: { ...noTeamLimits, max_run_minutes: 240 } }) },
    },
    {
      method: 'delete',
      path: '/agent/teams/{team}',
      id: 'deleteTeam',
      summary: 'Delete a team',
      description:
        'Only for the operator, and not for the first team. Its runs are cancelled as far as they go on, and stay; its schedules, environments, service accounts, webhooks, secrets, credentials and keys go with it.',
      answers: { 200: json(RemovedAccount, { cancelled_runs: 2, deleted_schedules: 1, revoked_keys: 3 }) },
    },
    {
      method: 'get',
      path: '/agent/teams/{team}/members',
      id: 'listMembers',
      summary: 'List the members of a team',
      answers: { 200: json(MemberList, { members: [member] }) },
    },
    {
      method: 'post',
      path: '/agent/teams/{team}/members',
      id: 'addMember',
      summary: 'Add a member',
      description: 'A person who is not known yet is made.',
      body: { schema: NewMember, example: { email: 'sam@example.org', role: 'member' } },
      idempotent: true,
      answers: { 201: json(MemberItem, member) },
      errors: { 409: 'The person is in the team already.' },
    },
    {
      method: 'get',
      path: '/agent/teams/{team}/members/{person}',
      id: 'getMember',
      summary: 'Read a member',
      answers: { 200: json(MemberItem, member) },
    },
    {
      method: 'patch',
      path: '/agent/teams/{team}/members/{person}',
      id: 'changeMember',
      summary: 'Set a member’s role',
      body: { schema: MemberChange, example: { role: 'admin' } },
      answers: { 200: json(MemberItem, { ...member, role: 'admin' }) },
    },
    {
      method: 'delete',
      path: '/agent/teams/{team}/members/{person}',
      id: 'removeMember',
      summary: 'Remove a member',
      description: 'One may leave a team oneself. Keys that were good for this team alone are revoked.',
      answers: { 204: nothing('The person is no member any more.') },
    },
    {
      method: 'get',
      path: '/agent/people',
      id: 'listPeople',
      summary: 'List people',
      description: 'Those of one’s own teams; the operator sees all.',
      query: z.object({
        limit: z.number().int().min(1).max(PAGE_LIMIT).default(100),
        cursor: z.string().optional().describe('`next_cursor` of the page before.'),
      }),
      answers: { 200: json(PersonList, { people: [person], page_info: { has_next_page: false } }) },
    },
    {
      method: 'post',
      path: '/agent/people',
      id: 'createPerson',
      summary: 'Make a person',
      description: 'Only for the operator.',
      body: { schema: NewPerson, example: { email: 'sam@example.org', display_name: 'Sam Doe' } },
      idempotent: true,
      answers: { 201: json(PersonItem, { ...person, teams: [] }) },
      errors: { 409: 'There is somebody with this address.' },
    },
    {
      method: 'get',
      path: '/agent/people/{person}',
      id: 'getPerson',
      summary: 'Read a person',
      answers: { 200: json(PersonItem, person) },
    },
    {
      method: 'patch',
      path: '/agent/people/{person}',
      id: 'changePerson',
      summary: 'Change or disable a person',
      description: 'Only for the operator. Whoever is disabled gets in nowhere from then on.',
      body: { schema: PersonChange, example: { disabled: true } },
      answers: { 200: json(PersonItem, { ...person, disabled: true }) },
      errors: { 409: 'There is somebody with this address.' },
    },
    {
      method: 'delete',
      path: '/agent/people/{person}',
      id: 'deletePerson',
      summary: 'Delete a person',
      description:
        'Only for the operator. Name and address are forgotten, keys revoked, personal schedules deleted, and personal runs cancelled as far as they go on. What they did for their teams stays, as that of a deleted person; schedules of teams that they changed last are paused. To keep somebody out, disable them instead.',
      answers: { 200: json(RemovedAccount, { cancelled_runs: 0, deleted_schedules: 1, revoked_keys: 2 }) },
    },
    {
      method: 'get',
      path: '/agent/api-keys',
      id: 'listApiKeys',
      summary: 'List API keys',
      description: 'One’s own, or all that are for the team.',
      query: z.object({
        all: z.boolean().default(false).describe('All keys that are for the team. Only for its admins.'),
      }),
      answers: { 200: json(ApiKeyList, { keys: [key] }) },
    },
    {
      method: 'post',
      path: '/agent/api-keys',
      id: 'createApiKey',
      summary: 'Make an API key',
      description:
        'For oneself, or, as an admin, for a service account. No key is good for more, or for longer, than the one that it is made with.',
      body: { schema: NewApiKey, example: { name: 'laptop', scope: 'run' } },
      answers: {
        201: json(
          CreatedApiKey,
          { ...key, last_used_at: null, key: 'wk-4f0c2b7d9e1a6c3f5b8d0e2a4c6f8b1d3e5a7c90b2d' },
          'The key is shown this once.',
        ),
      },
    },
    {
      method: 'delete',
      path: '/agent/api-keys/{keyUid}',
      id: 'revokeApiKey',
      summary: 'Revoke an API key',
      description:
        'Keys that were made with it stay good, so that a key can be exchanged for another; `made_with` names them, and `cascade` revokes them too.',
      query: RevokeKey,
      answers: { 204: nothing('Nobody gets in with it from now on.') },
    },
  ],
}

export const identities: Section = {
  name: 'Service accounts',
  description: 'Oz’s agent identities: as whom runs work, and what holds where their requests do not say.',
  routes: [
    {
      method: 'get',
      path: '/agent/identities',
      id: 'listIdentities',
      summary: 'List service accounts',
      query: z.object({ factory_uid: z.string().optional().describe('Only those of this factory.') }),
      answers: { 200: json(IdentityList, { agents: [identity] }) },
    },
    {
      method: 'post',
      path: '/agent/identities',
      id: 'createIdentity',
      summary: 'Make a service account',
      body: {
        schema: NewIdentity,
        example: { name: 'Nightly maintenance', prompt: 'Change as little as possible.', harness: { type: 'codex' } },
      },
      idempotent: true,
      answers: { 201: json(IdentityItem, identity) },
      errors: { 404: 'A skill that it names is not known.', 409: 'There is one of this name.' },
    },
    {
      method: 'get',
      path: '/agent/identities/{identityUid}',
      id: 'getIdentity',
      summary: 'Read a service account',
      answers: { 200: json(IdentityItem, identity) },
    },
    {
      method: 'put',
      path: '/agent/identities/{identityUid}',
      id: 'changeIdentity',
      summary: 'Change a service account',
      description: 'What is absent or null stays, what is empty is cleared.',
      body: { schema: IdentityChange, example: { description: '' } },
      answers: { 200: json(IdentityItem, { ...identity, description: null }) },
      errors: { 409: 'There is one of this name.' },
    },
    {
      method: 'delete',
      path: '/agent/identities/{identityUid}',
      id: 'deleteIdentity',
      summary: 'Delete a service account',
      description: 'Its keys are revoked. The default one of a team cannot be deleted.',
      answers: { 204: nothing('It is deleted.') },
      errors: { 400: 'It is the default one of its team.' },
    },
  ],
}

export const shares: Section = {
  name: 'Sharing',
  description: 'With whom a run is shared beside its team. Only for whoever made the run, and the admins of its team.',
  routes: [
    {
      method: 'get',
      path: '/agent/runs/{runId}/shares',
      id: 'listShares',
      summary: 'List with whom a run is shared',
      answers: { 200: json(ShareList, { shares: [share] }) },
    },
    {
      method: 'post',
      path: '/agent/runs/{runId}/shares',
      id: 'shareRun',
      summary: 'Share a run',
      description: 'With a person, a team, or whoever has a link. Who has a share already gets this one in its place.',
      body: { schema: NewShare, example: { with: 'person', person: 'sam@example.org', level: 'view' } },
      answers: { 201: json(ShareItem, share) },
    },
    {
      method: 'delete',
      path: '/agent/runs/{runId}/shares/{shareUid}',
      id: 'unshareRun',
      summary: 'Take a share back',
      answers: { 204: nothing('It is not shared so any more.') },
    },
  ],
}
