// The settings of sign-in by OpenID Connect, looked at together.
import { readFileSync } from 'node:fs'
import { type Config, ConfigError } from '../../config.ts'
import { TeamUid } from '../../domain/account.ts'
import { roles } from '../../domain/permission.ts'
import type { AdmissionRules } from '../../store/accounts/sign-in.ts'

export interface OidcSettings {
  issuer: string
  clientId: string
  /** Null: a public client, by PKCE alone. */
  clientSecret: string | null
  scopes: string
  trustsUnverifiedEmail: boolean
  groupsClaim: string
  admission: AdmissionRules
}

/** Null where people sign in with keys only. @throws {ConfigError} for settings that do not fit together. */
export function oidcSettings(config: Config): OidcSettings | null {
  const issuer = config.AMBIENT_OIDC_ISSUER
  if (issuer === undefined) return null
  const clientId = config.AMBIENT_OIDC_CLIENT_ID
  if (clientId === undefined) throw new ConfigError('AMBIENT_OIDC_CLIENT_ID is needed with AMBIENT_OIDC_ISSUER.')
  const defaultTeam = config.AMBIENT_OIDC_DEFAULT_TEAM
  const defaultRole = config.AMBIENT_OIDC_DEFAULT_ROLE
  return {
    issuer,
    clientId,
    clientSecret: secretOf(config),
    scopes: config.AMBIENT_OIDC_SCOPES,
    trustsUnverifiedEmail: config.AMBIENT_OIDC_UNVERIFIED_EMAIL === 'allow',
    groupsClaim: config.AMBIENT_OIDC_GROUPS_CLAIM,
    admission: {
      domains: entriesOf(config.AMBIENT_OIDC_ALLOWED_DOMAINS).map((domain) => domain.replace(/^@/, '').toLowerCase()),
      defaultTeam,
      defaultRole: defaultRole === 'none' ? null : defaultRole,
      groupRoles: entriesOf(config.AMBIENT_OIDC_ROLES).map((entry) => groupRole(entry, defaultTeam)),
    },
  }
}

function secretOf(config: Config): string | null {
  const path = config.AMBIENT_OIDC_CLIENT_SECRET_FILE
  if (path === undefined) return config.AMBIENT_OIDC_CLIENT_SECRET ?? null
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    throw new ConfigError(`AMBIENT_OIDC_CLIENT_SECRET_FILE cannot be read: ${String(error)}`)
  }
}

/** `group=role` or `group=team:role`; the group itself may have any characters but commas. */
function groupRole(entry: string, defaultTeam: string): AdmissionRules['groupRoles'][number] {
  const [, group = '', team = defaultTeam, name] = /^(.+)=(?:([^:=]+):)?(\w+)$/.exec(entry) ?? []
  const role = roles.find((candidate) => candidate === name)
  if (role === undefined || !TeamUid.safeParse(team).success)
    throw new ConfigError(`AMBIENT_OIDC_ROLES: "${entry}" must be group=role or group=team:role.`)
  return { group: group.trim(), team, role }
}

const entriesOf = (text: string): string[] =>
  text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
