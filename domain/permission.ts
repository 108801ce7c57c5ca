// Who may do what: the one table that every route is held to.

export const roles = ['admin', 'member', 'viewer'] as const
export type Role = (typeof roles)[number]

/** What a key is good for at most, whoever holds it. Each contains the ones before it. */
export const scopes = ['read', 'run', 'manage', 'admin'] as const
export type Scope = (typeof scopes)[number]

/** How much of one run is shared with somebody. */
export const shareLevels = ['view', 'steer'] as const
export type ShareLevel = (typeof shareLevels)[number]

/** `operator`: whoever has the admin key of the settings. */
export const callerTypes = ['operator', 'user', 'service_account'] as const
export type CallerType = (typeof callerTypes)[number]

/** Somebody, as things name who made them. */
export interface Principal {
  type: CallerType
  uid: string
}

/** As {@link Principal}, of whoever has the admin key. */
export const OPERATOR: Principal = { type: 'operator', uid: 'operator' }

export const isSame = (one: Principal, other: Principal): boolean => one.type === other.type && one.uid === other.uid

export interface Permission {
  /** What it is, for people. */
  means: string
  /** The scope that a key needs. */
  scope: Scope
  /** The least role in the thing's team. */
  role: Role
  /** Whoever made the thing may do it as well, as long as they are in its team, whatever their role there. */
  owner?: true
  /** A run that is shared at this level, or higher, may be treated so by whom it is shared with. */
  shared?: ShareLevel
  /** `people`: no service account may. `operator`: nobody else may, for it is about all teams at once. */
  only?: 'people' | 'operator'
}

export const permissions = {
  'account.view': { means: 'see who one is here, and one’s teams', scope: 'read', role: 'viewer' },
  'catalogue.view': { means: 'see which agents, harnesses and models there are', scope: 'read', role: 'viewer' },
  'runs.view': {
    means: 'see a run, its transcript, results and files',
    scope: 'read',
    role: 'viewer',
    owner: true,
    shared: 'view',
  },
  'runs.create': { means: 'start runs, fork them, begin children', scope: 'run', role: 'member' },
  'runs.steer': {
    means: 'send a run a message, or begin it again',
    scope: 'run',
    role: 'member',
    owner: true,
    shared: 'steer',
  },
  'runs.answer': {
    means: 'answer what the agent of a run asks',
    scope: 'run',
    role: 'member',
    owner: true,
    shared: 'steer',
  },
  'runs.cancel': { means: 'cancel a run', scope: 'run', role: 'member', owner: true, shared: 'steer' },
  'runs.score': { means: 'score a run', scope: 'run', role: 'member', owner: true },
  'runs.share': { means: 'share a run, and take it back', scope: 'run', role: 'admin', owner: true },
  'environments.view': { means: 'see environments, builds and their logs', scope: 'read', role: 'viewer' },
  'environments.manage': { means: 'make, change, build and delete environments', scope: 'manage', role: 'member' },
  'profiles.view': { means: 'see agent profiles', scope: 'read', role: 'viewer' },
  'profiles.manage': { means: 'make, change and delete agent profiles', scope: 'manage', role: 'member' },
  'rules.view': { means: 'see rules', scope: 'read', role: 'viewer' },
  'rules.manage': { means: 'make, change and delete rules', scope: 'manage', role: 'member' },
  'prompts.view': { means: 'see saved prompts', scope: 'read', role: 'viewer' },
  'prompts.manage': { means: 'make, change and delete saved prompts', scope: 'manage', role: 'member' },
  'schedules.view': { means: 'see schedules', scope: 'read', role: 'viewer' },
  'schedules.manage': { means: 'make, change, pause and delete schedules', scope: 'manage', role: 'member' },
  'mcp_servers.view': { means: 'see the stored MCP servers, without their values', scope: 'read', role: 'viewer' },
  'mcp_servers.manage': { means: 'store, change and delete MCP servers', scope: 'manage', role: 'member' },
  'identities.view': { means: 'see service accounts', scope: 'read', role: 'viewer' },
  'identities.manage': {
    means: 'make, change and delete service accounts',
    scope: 'manage',
    role: 'member',
    only: 'people',
  },
  'identities.delegate': {
    means: 'let a service account start runs on behalf of people',
    scope: 'admin',
    role: 'admin',
    only: 'people',
  },
  'secrets.view': { means: 'see the names of secrets', scope: 'read', role: 'viewer' },
  'secrets.own': {
    means: 'make, change and delete one’s own secrets',
    scope: 'run',
    role: 'viewer',
    only: 'people',
  },
  'secrets.manage': {
    means: 'make, change and delete secrets of the team, its environments and service accounts',
    scope: 'manage',
    role: 'member',
  },
  'git_credentials.view': { means: 'see the git credentials, without their tokens', scope: 'read', role: 'viewer' },
  'git_credentials.own': {
    means: 'store, change and delete git credentials of one’s own',
    scope: 'run',
    role: 'viewer',
  },
  'git_credentials.manage': {
    means: 'store, change and delete git credentials of the team',
    scope: 'manage',
    role: 'member',
  },
  'vault.manage': {
    means: 'see under which keys secrets are sealed, and bring them under a new one',
    scope: 'admin',
    role: 'admin',
    only: 'operator',
  },
  'keys.own': { means: 'see, make and revoke one’s own API keys', scope: 'manage', role: 'viewer', only: 'people' },
  'keys.manage': {
    means: 'see and revoke all keys of the team, make those of service accounts',
    scope: 'admin',
    role: 'admin',
    only: 'people',
  },
  'members.view': { means: 'see who is in the team', scope: 'read', role: 'viewer' },
  'members.manage': {
    means: 'add and remove members, and set their roles',
    scope: 'admin',
    role: 'admin',
    only: 'people',
  },
  'teams.manage': { means: 'make and change teams', scope: 'admin', role: 'admin', only: 'operator' },
  'people.manage': { means: 'make, change and disable people', scope: 'admin', role: 'admin', only: 'operator' },
  'workers.view': { means: 'see the hosts', scope: 'read', role: 'viewer' },
  'workers.manage': {
    means: 'drain and remove hosts, and make their keys',
    scope: 'admin',
    role: 'admin',
    only: 'operator',
  },
  'models.manage': {
    means: 'say which models the team may call, and keep its own model endpoints',
    scope: 'admin',
    role: 'admin',
    only: 'people',
  },
  'webhooks.manage': { means: 'see, make, change and delete outbound webhooks', scope: 'manage', role: 'admin' },
  'credits.view': { means: 'see the team’s credits and its ledger', scope: 'read', role: 'viewer' },
  'credits.grant': { means: 'give credits to a team', scope: 'admin', role: 'admin', only: 'operator' },
  'budgets.view': { means: 'see the team’s budgets', scope: 'read', role: 'viewer' },
  'budgets.manage': {
    means: 'make, change and delete budgets of the team, its people and schedules',
    scope: 'manage',
    role: 'admin',
    only: 'people',
  },
  'budgets.raise': {
    means: 'change what a run may cost',
    scope: 'run',
    role: 'admin',
    owner: true,
    only: 'people',
  },
  'statistics.view': { means: 'see the team’s statistics', scope: 'read', role: 'viewer' },
  'audit.view': { means: 'see the team’s audit log', scope: 'admin', role: 'admin' },
} as const satisfies Record<string, Permission>

export type Action = keyof typeof permissions

export const actions = Object.keys(permissions) as Action[]

/** A role contains those below it. */
export const atLeast = (role: Role, least: Role): boolean => roles.indexOf(role) <= roles.indexOf(least)

/** A key contains every scope up to its own. */
export const hasScope = (scope: Scope, needed: Scope): boolean => scopes.indexOf(scope) >= scopes.indexOf(needed)

/** What is known of who asks, and of the thing that is asked about. */
export interface Standing {
  type: CallerType
  scope: Scope
  /** In the thing's team; null: no member of it. */
  role: Role | null
  isOwner?: boolean
  shared?: ShareLevel | null
}

/** Whether somebody of this standing may do it. */
export function may(action: Action, { type, scope, role, isOwner = false, shared = null }: Standing): boolean {
  const needed: Permission = permissions[action]
  if (!hasScope(scope, needed.scope)) return false
  if (needed.only === 'operator' && type !== 'operator') return false
  if (needed.only === 'people' && type === 'service_account') return false
  if (role !== null && (atLeast(role, needed.role) || (needed.owner && isOwner))) return true
  return needed.shared !== undefined && shared !== null && (shared === 'steer' || needed.shared === 'view')
}
