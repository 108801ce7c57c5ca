// Who may do what: the one table that every route is held to.

export const roles = ['admin', 'member', 'viewer'] as const
export type Role = (typeof roles)[number]

/** What a key is good for at most, whoever holds it. Each contains the ones before it. */
export const scopes = ['read', 'run', 'manage', 'admin'] as const
export type Scope = (typeof scopes)[number]

/** How much of one run is shared with somebody. */
export const shareLevels = ['view', 'steer'] as const
export type ShareLevel = (typeof shareLevels)[number]

interface Permission {
  /** The scope that a key needs. */
  scope: Scope
  /** The least role in the thing's team. */
  role: Role
  /** Whoever made the thing may do it as well, whatever the role. */
  owner?: true
  /** A run that is shared at this level, or higher, may be treated so by whom it is shared with. */
  shared?: ShareLevel
}

export const permissions = {
  'runs.view': { scope: 'read', role: 'viewer', owner: true, shared: 'view' },
  'runs.create': { scope: 'run', role: 'member' },
  'runs.steer': { scope: 'run', role: 'member', owner: true, shared: 'steer' },
  'runs.answer': { scope: 'run', role: 'member', owner: true, shared: 'steer' },
  'runs.cancel': { scope: 'run', role: 'member', owner: true, shared: 'steer' },
  'runs.share': { scope: 'run', role: 'admin', owner: true },
  'environments.view': { scope: 'read', role: 'viewer' },
  'environments.manage': { scope: 'manage', role: 'member' },
  'schedules.view': { scope: 'read', role: 'viewer' },
  'schedules.manage': { scope: 'manage', role: 'member' },
  'identities.view': { scope: 'read', role: 'viewer' },
  'identities.manage': { scope: 'manage', role: 'member' },
  'keys.own': { scope: 'read', role: 'viewer' },
  'keys.manage': { scope: 'admin', role: 'admin' },
  'members.view': { scope: 'read', role: 'viewer' },
  'members.manage': { scope: 'admin', role: 'admin' },
  'workers.view': { scope: 'read', role: 'viewer' },
  'workers.manage': { scope: 'admin', role: 'admin' },
  'webhooks.manage': { scope: 'manage', role: 'admin' },
  'statistics.view': { scope: 'read', role: 'viewer' },
  'audit.view': { scope: 'admin', role: 'admin' },
} as const satisfies Record<string, Permission>

export type Action = keyof typeof permissions

const atLeast = (role: Role, least: Role) => roles.indexOf(role) <= roles.indexOf(least)

/** A key contains every scope up to its own. */
export const hasScope = (scope: Scope, needed: Scope): boolean => scopes.indexOf(scope) >= scopes.indexOf(needed)

/** What is known of who asks, and of the thing that is asked about. */
export interface Standing {
  scope: Scope
  /** In the thing's team; null: no member of it. */
  role: Role | null
  isOwner?: boolean
  shared?: ShareLevel | null
}

/** Whether somebody of this standing may do it. */
export function may(action: Action, { scope, role, isOwner = false, shared = null }: Standing): boolean {
  const needed: Permission = permissions[action]
  if (!hasScope(scope, needed.scope)) return false
  if (role !== null && atLeast(role, needed.role)) return true
  if (needed.owner && isOwner) return true
  return needed.shared !== undefined && shared !== null && (shared === 'steer' || needed.shared === 'view')
}
