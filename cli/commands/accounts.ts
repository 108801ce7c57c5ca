// `ambient whoami`, `teams`, `members`, `people`, `keys` and `shares`.
import { typed } from '../../config.ts'
import type { MemberItem, PersonItem, RemovedAccount, TeamItem } from '../../domain/account.ts'
import type { ApiKeyItem } from '../../domain/api-key.ts'
import { type Role, roles, type Scope, type ShareLevel } from '../../domain/permission.ts'
import type { ShareItem } from '../../domain/share.ts'
import type { TeamLimitsChange } from '../../domain/team-limits.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findNamed } from '../find-named.ts'
import { findServiceAccount } from '../find-service-account.ts'
import { findRun } from '../input.ts'
import { table } from '../render/table.ts'
import { clean, duration, plural } from '../render/text.ts'
import { createScreen, type Screen } from '../screen.ts'

export interface JsonOption {
  json?: boolean
}

const DAY_MS = 24 * 3_600_000

/** JSON where that is asked for, else the text. */
function print(screen: Screen, { json }: JsonOption, value: unknown, text: string): ExitCode {
  screen.write(json ? `${JSON.stringify(value)}\n` : text)
  return exitCodes.succeeded
}

const ago = (time: string | null) =>
  time === null ? 'never' : `${duration(Math.max(0, Date.now() - Date.parse(time)), 1)} ago`

const until = (time: string | null) => {
  if (time === null) return 'for ever'
  const left = Date.parse(time) - Date.now()
  return left <= 0 ? 'expired' : `${duration(left, 1)} more`
}

export async function whoami(options: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const me = await connect().accounts.me()
  const who = me.email === null ? clean(me.display_name) : `${clean(me.display_name)} <${clean(me.email)}>`
  const others = me.teams.filter(({ uid }) => uid !== me.team.uid)
  const lines = [
    `${who} (${me.type === 'service_account' ? 'service account' : me.type}, ${me.uid})`,
    `Team: ${clean(me.team.name)} (${me.team.uid}), as ${me.role ?? 'a guest'}`,
    `Key: good for "${me.scope}"${me.key?.expires_at ? `, until ${me.key.expires_at}` : ''}`,
    ...(others.length > 0
      ? [
          `Other teams: ${others.map(({ uid, name }) => `${clean(name)} (${uid})`).join(', ')}. AMBIENT_TEAM=<uid> picks one.`,
        ]
      : []),
  ]
  return print(screen, options, me, `${lines.join('\n')}\n`)
}

export async function teams(options: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const list = await connect().accounts.teams()
  const rows = list.map(({ uid, name, role, run_limit: limit }) => [uid, clean(name), role, String(limit)])
  return print(
    screen,
    options,
    { teams: list },
    table(['UID', 'NAME', 'ROLE', 'RUN LIMIT'], rows, screen.style.colours.dim),
  )
}

export interface TeamOptions extends JsonOption {
  team?: string
  name?: string
  runLimit?: number
  maxTurn?: number | null
  maxRun?: number | null
  maxIdle?: number | null
  maxTranscript?: number | null
  maxDisk?: number | null
}

const limitsOf = ({ maxTurn, maxRun, maxIdle, maxTranscript, maxDisk }: TeamOptions): { limits?: TeamLimitsChange } => {
  const asked = {
    ...(maxTurn !== undefined && { max_turn_minutes: maxTurn }),
    ...(maxRun !== undefined && { max_run_minutes: maxRun }),
    ...(maxIdle !== undefined && { max_idle_minutes: maxIdle }),
    ...(maxTranscript !== undefined && { max_transcript_mb: maxTranscript }),
    ...(maxDisk !== undefined && { max_disk_gb: maxDisk }),
  }
  return Object.keys(asked).length === 0 ? {} : { limits: asked }
}

/** For people, in one line. */
function limitsText({ run_limit: runs, limits }: TeamItem): string {
  const { max_turn_minutes: turn, max_run_minutes: run, max_idle_minutes: idle } = limits
  return [
    `${runs} runs at work at once`,
    ...(turn === null ? [] : [`${turn} min for a turn`]),
    ...(run === null ? [] : [`${run} min for an execution`]),
    ...(idle === null ? [] : [`${idle} min kept after the work`]),
    ...(limits.max_transcript_mb === null ? [] : [`${limits.max_transcript_mb} MiB of transcript`]),
    ...(limits.max_disk_gb === null ? [] : [`${limits.max_disk_gb} GiB of disk`]),
  ].join(', ')
}

export async function createTeam(name: string, options: TeamOptions): Promise<ExitCode> {
  const screen = createScreen()
  const { runLimit } = options
  const own = { ...(runLimit !== undefined && { run_limit: runLimit }), ...limitsOf(options) }
  const made = await connect().accounts.createTeam({ name, ...own })
  return print(screen, options, made, `${made.uid}\n`)
}

export async function updateTeam(given: string, options: TeamOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { name, runLimit } = options
  const { limits } = limitsOf(options)
  if (name === undefined && runLimit === undefined && limits === undefined)
    throw usageError('Nothing to change: give --name or a limit.')
  const { uid } = await findTeam(api, given)
  const changed = await api.accounts.changeTeam(uid, {
    ...(name !== undefined && { name }),
    ...(runLimit !== undefined && { run_limit: runLimit }),
    ...(limits !== undefined && { limits }),
  })
  return print(screen, options, changed, `${clean(changed.name)}: ${limitsText(changed)}.\n`)
}

const findTeam = async (api: Api, given: string): Promise<TeamItem> =>
  findNamed(await api.accounts.teams(), given, { one: 'team', all: 'teams' }, (team) => team)

const teamOf = async (api: Api, { team }: TeamOptions): Promise<string> =>
  team === undefined ? (await api.accounts.me()).team.uid : (await findTeam(api, team)).uid

export async function members(options: TeamOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const list = await api.accounts.members(await teamOf(api, options))
  const rows = list.map((member) => [
    member.uid,
    clean(member.email),
    clean(member.display_name),
    member.disabled ? `${member.role} (disabled)` : member.role,
    ago(member.joined_at),
  ])
  const text = table(['UID', 'E-MAIL', 'NAME', 'ROLE', 'JOINED'], rows, screen.style.colours.dim)
  return print(screen, options, { members: list }, list.length === 0 ? 'The team has no members yet.\n' : text)
}

export async function addMember(email: string, options: TeamOptions & { role: Role }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { role, name } = options
  const body = { email, role, ...(name !== undefined && { display_name: name }) }
  const made = await api.accounts.addMember(await teamOf(api, options), body)
  return print(screen, options, made, `${clean(made.email)} is ${made.role}.\n`)
}

export async function setRole(given: string, role: string, options: TeamOptions): Promise<ExitCode> {
  const known = roles.find((one) => one === role)
  if (!known) throw usageError(`There is no role ${role}.`, `There are: ${roles.join(', ')}`)
  const screen = createScreen()
  const api = connect()
  const team = await teamOf(api, options)
  const changed = await api.accounts.setRole(team, (await findMember(api, team, given)).uid, known)
  return print(screen, options, changed, `${clean(changed.email)} is ${changed.role}.\n`)
}

export async function removeMember(given: string, options: TeamOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const team = await teamOf(api, options)
  const { uid, email } = await findMember(api, team, given)
  await api.accounts.removeMember(team, uid)
  screen.write(`${clean(email)} is no member any more.\n`)
  return exitCodes.succeeded
}

async function findMember(api: Api, team: string, given: string): Promise<MemberItem> {
  const all = await api.accounts.members(team)
  const found = all.find(({ uid, email }) => uid === given || email === given.toLowerCase())
  if (!found) throw usageError(`The team has no member ${given}.`, `The members: ${typed} members`)
  return found
}

export type PeopleOptions = JsonOption

async function allPeople(api: Api): Promise<PersonItem[]> {
  const all: PersonItem[] = []
  for (let cursor: string | undefined; ; ) {
    const { people: page, page_info: info } = await api.accounts.people(cursor)
    all.push(...page)
    if (!info.has_next_page || info.next_cursor === undefined) return all
    cursor = info.next_cursor
  }
}

export async function people(options: PeopleOptions): Promise<ExitCode> {
  const screen = createScreen()
  const list = await allPeople(connect())
  const rows = list.map((person) => [
    person.uid,
    clean(person.email),
    clean(person.display_name),
    person.teams.map(({ name, role }) => `${clean(name)} (${role})`).join(', '),
    person.disabled ? 'disabled' : '',
  ])
  const text = table(['UID', 'E-MAIL', 'NAME', 'TEAMS', ''], rows, screen.style.colours.dim)
  return print(screen, options, { people: list }, list.length === 0 ? 'There is nobody yet.\n' : text)
}

export async function setDisabled(given: string, disabled: boolean, options: PeopleOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const person = await findPerson(api, given)
  const changed = await api.accounts.changePerson(person.uid, { disabled })
  const text = `${clean(changed.email)} ${disabled ? 'is kept out' : 'is let in'} from now on.\n`
  return print(screen, options, changed, text)
}

async function findPerson(api: Api, given: string): Promise<PersonItem> {
  const person = (await allPeople(api)).find(({ uid, email }) => uid === given || email === given.toLowerCase())
  if (!person) throw usageError(`There is nobody ${given}.`, `The people: ${typed} people`)
  return person
}

export async function deletePerson(given: string, options: PeopleOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, email } = await findPerson(api, given)
  const removed = await api.accounts.deletePerson(uid)
  return print(screen, options, removed, `${clean(email)} is forgotten. ${withIt(removed)}\n`)
}

export async function deleteTeam(given: string, options: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, name } = await findTeam(api, given)
  const removed = await api.accounts.deleteTeam(uid)
  return print(screen, options, removed, `${clean(name)} is deleted. ${withIt(removed)}\n`)
}

const withIt = ({ cancelled_runs: runs, deleted_schedules: schedules, revoked_keys: keys }: RemovedAccount) =>
  `Cancelled: ${plural(runs, 'run')}. Deleted: ${plural(schedules, 'schedule')}. Revoked: ${plural(keys, 'key')}.`

export interface KeyOptions extends JsonOption {
  all?: boolean
  scope?: Scope
  person?: string
  serviceAccount?: string
  team?: string
  days?: number
}

export async function keys(options: KeyOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  // The admin key has none of its own.
  const all = options.all ?? (await api.accounts.me()).type === 'operator'
  const list = await api.accounts.keys({ all })
  const text = table(
    ['UID', 'KEY', 'NAME', 'OF', 'SCOPE', 'TEAM', 'GOOD', 'USED'],
    list.map((key: ApiKeyItem) => [
      key.uid,
      `${key.key_prefix}…`,
      clean(key.name),
      clean(key.owner.email ?? key.owner.display_name ?? key.owner.uid),
      key.scope,
      key.team ?? 'all',
      until(key.expires_at),
      ago(key.last_used_at),
    ]),
    screen.style.colours.dim,
  )
  const none = `There are no keys. Make one: ${typed} keys create <name>\n`
  return print(screen, options, { keys: list }, list.length === 0 ? none : text)
}

export async function createKey(name: string, options: KeyOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { scope, person, serviceAccount, team, days } = options
  const made = await api.accounts.createKey({
    name,
    ...(scope !== undefined && { scope }),
    ...(person !== undefined && { person }),
    ...(serviceAccount !== undefined && { agent_uid: (await findServiceAccount(api, serviceAccount)).uid }),
    ...(team !== undefined && { team: (await findTeam(api, team)).uid }),
    ...(days !== undefined && { expires_at: inDays(days) }),
  })
  print(screen, options, made, `${made.key}\n`)
  if (!options.json)
    screen.note('It is shown this once. Whoever has it sets AMBIENT_API_KEY, and AMBIENT_URL to this server.')
  return exitCodes.succeeded
}

const inDays = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString()

export async function revokeKey(uid: string, cascade: boolean): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  await api.accounts.revokeKey(uid, { cascade })
  screen.write(cascade ? 'The key is revoked, and so are those that were made with it.\n' : 'The key is revoked.\n')
  if (cascade) return exitCodes.succeeded
  const all = (await api.accounts.me()).type === 'operator'
  const made = (await api.accounts.keys({ all })).filter((key) => key.made_with === uid)
  if (made.length > 0)
    screen.note(
      `Made with it, and still good: ${made.map((key) => `${key.uid} (${clean(key.name)})`).join(', ')}. Revoke them likewise where it was not you who made them.`,
    )
  return exitCodes.succeeded
}

export async function shares(given: string, options: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const list = await api.accounts.shares(await findRun(api, given))
  const rows = list.map((share) => [
    share.uid,
    whomOf(share),
    share.level,
    until(share.expires_at),
    ago(share.created_at),
  ])
  const text = table(['UID', 'WITH', 'LEVEL', 'FOR', 'SINCE'], rows, screen.style.colours.dim)
  return print(
    screen,
    options,
    { shares: list },
    list.length === 0 ? 'The run is shared with nobody beside its team.\n' : text,
  )
}

function whomOf(share: ShareItem): string {
  if (share.with === 'link') return share.public ? 'whoever has the link' : 'whoever has the link and signs in'
  return clean(share.person?.email ?? share.person?.uid ?? `team ${share.team?.name ?? ''}`)
}

export interface ShareOptions extends JsonOption {
  person?: string
  team?: string
  link?: boolean
  public?: boolean
  level?: ShareLevel
  days?: number
}

export async function share(given: string, options: ShareOptions): Promise<ExitCode> {
  const { person, team, link, level = 'view', days } = options
  if ([person, team, link].filter((one) => one !== undefined).length !== 1)
    throw usageError('Say with whom: --person, --team or --link.')
  const screen = createScreen()
  const api = connect()
  const made = await api.accounts.share(await findRun(api, given), {
    with: person !== undefined ? 'person' : team !== undefined ? 'team' : 'link',
    ...(person !== undefined && { person }),
    ...(team !== undefined && { team }),
    ...(options.public && { public: true }),
    level,
    ...(days !== undefined && { expires_at: inDays(days) }),
  })
  return print(screen, options, made, `${made.url ?? `${whomOf(made)}: ${made.level}`}\n`)
}

export async function unshare(given: string, uid: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  await api.accounts.unshare(await findRun(api, given), uid)
  screen.write('It is taken back.\n')
  return exitCodes.succeeded
}
