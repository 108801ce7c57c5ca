// Teams, people, API keys and shares, as the command line asks for them.
import type { z } from 'zod'
import type {
  Me,
  MemberItem,
  PersonChange,
  PersonItem,
  RemovedAccount,
  TeamChange,
  TeamItem,
} from '../../domain/account.ts'
import type { ApiKeyItem, NewApiKey } from '../../domain/api-key.ts'
import type { IdentityChange, IdentityItem, NewIdentity } from '../../domain/identity.ts'
import type { Role, ShareLevel } from '../../domain/permission.ts'
import type { NewShare, ShareItem } from '../../domain/share.ts'
import type { TeamLimitsChange } from '../../domain/team-limits.ts'
import { type Requests, sending } from './requests.ts'

export interface PeoplePage {
  people: PersonItem[]
  page_info: { has_next_page: boolean; next_cursor?: string }
}

export interface AccountsApi {
  me(): Promise<Me>
  teams(): Promise<TeamItem[]>
  createTeam(body: { name: string; run_limit?: number; limits?: TeamLimitsChange }): Promise<TeamItem>
  changeTeam(uid: string, change: TeamChange): Promise<TeamItem>
  deleteTeam(uid: string): Promise<RemovedAccount>
  members(team: string): Promise<MemberItem[]>
  addMember(team: string, body: { email: string; role?: Role; display_name?: string }): Promise<MemberItem>
  setRole(team: string, person: string, role: Role): Promise<MemberItem>
  removeMember(team: string, person: string): Promise<void>
  people(cursor?: string): Promise<PeoplePage>
  changePerson(uid: string, change: PersonChange): Promise<PersonItem>
  deletePerson(uid: string): Promise<RemovedAccount>
  keys(options: { all: boolean }): Promise<ApiKeyItem[]>
  /** The key itself is told here and never again. */
  createKey(body: z.input<typeof NewApiKey>): Promise<ApiKeyItem & { key: string }>
  revokeKey(uid: string, options: { cascade: boolean }): Promise<void>
  serviceAccounts(): Promise<IdentityItem[]>
  createServiceAccount(body: NewIdentity): Promise<IdentityItem>
  changeServiceAccount(uid: string, change: IdentityChange): Promise<IdentityItem>
  deleteServiceAccount(uid: string): Promise<void>
  shares(runId: string): Promise<ShareItem[]>
  share(runId: string, body: NewShare & { level: ShareLevel }): Promise<ShareItem>
  unshare(runId: string, uid: string): Promise<void>
}

/** `base`: the API's address up to `/agent`. */
export function createAccountsApi(
  base: string,
  { steady, post, put, patch, remove, json, once }: Requests,
): AccountsApi {
  return {
    me: () => json(steady(`${base}/me`)),
    teams: async () => (await json<{ teams: TeamItem[] }>(steady(`${base}/teams`))).teams,
    createTeam: (body) => json(post(`${base}/teams`, body)),
    changeTeam: (uid, change) => patch(`${base}/teams/${uid}`, change),
    deleteTeam: (uid) => json(steady(`${base}/teams/${uid}`, () => ({ method: 'DELETE' }))),
    members: async (team) => (await json<{ members: MemberItem[] }>(steady(`${base}/teams/${team}/members`))).members,
    addMember: (team, body) => json(post(`${base}/teams/${team}/members`, body)),
    setRole: (team, person, role) => patch(`${base}/teams/${team}/members/${person}`, { role }),
    removeMember: (team, person) => remove(`${base}/teams/${team}/members/${person}`),
    people: (cursor) =>
      json(steady(`${base}/people?limit=500${cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`}`)),
    changePerson: (uid, change) => patch(`${base}/people/${uid}`, change),
    deletePerson: (uid) => json(steady(`${base}/people/${uid}`, () => ({ method: 'DELETE' }))),
    serviceAccounts: async () => (await json<{ agents: IdentityItem[] }>(steady(`${base}/identities`))).agents,
    createServiceAccount: (body) => json(post(`${base}/identities`, body)),
    changeServiceAccount: (uid, change) => put(`${base}/identities/${uid}`, change),
    deleteServiceAccount: (uid) => remove(`${base}/identities/${uid}`),
    keys: async ({ all }) => (await json<{ keys: ApiKeyItem[] }>(steady(`${base}/api-keys?all=${all}`))).keys,
    // Once: a key whose answer was lost would be one that nobody knows. A link's token likewise.
    createKey: (body) => json(once(`${base}/api-keys`, sending('POST', body))),
    revokeKey: (uid, { cascade }) =>
      remove(`${base}/api-keys/${encodeURIComponent(uid)}${cascade ? '?cascade=true' : ''}`),
    shares: async (runId) => (await json<{ shares: ShareItem[] }>(steady(`${base}/runs/${runId}/shares`))).shares,
    share: (runId, body) => json(once(`${base}/runs/${runId}/shares`, sending('POST', body))),
    unshare: (runId, uid) => remove(`${base}/runs/${runId}/shares/${encodeURIComponent(uid)}`),
  }
}
