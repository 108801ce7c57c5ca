// `ambient whoami`, `teams`, `members`, `people`, `keys` and `shares`: the commands and their options. Each loads its own code.
import { type Command, Option } from 'commander'
import type { Role, Scope, ShareLevel } from '../../domain/permission.ts'
import type { KeyOptions, PeopleOptions, ShareOptions, TeamOptions } from '../commands/accounts.ts'
import { json, orNone, positive, RUN, whole } from '../options.ts'

// Not read from the domain: that would be one more file before `--help`.
const roles = Object.keys({ admin: 1, member: 1, viewer: 1 } satisfies Record<Role, 1>)
const scopes = Object.keys({ read: 1, run: 1, manage: 1, admin: 1 } satisfies Record<Scope, 1>)
const levels = Object.keys({ view: 1, steer: 1 } satisfies Record<ShareLevel, 1>)

const PERSON = 'e-mail address or uid of the person'
const TEAM = 'name or uid of the team'

type Exit = (code: number) => void
const load = () => import('../commands/accounts.ts')

export function addAccounts(program: Command, exit: Exit): void {
  program
    .command('whoami')
    .summary('see who one is to the server, and in which team')
    .description('Show who one is to the server: team, role, and what the key is good for.')
    .addOption(json('who one is, as the API serves it'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).whoami(options)))
  addTeams(program, exit)
  addMembers(program, exit)
  addPeople(program, exit)
  addKeys(program, exit)
  addShares(program, exit)
}

function addTeams(program: Command, exit: Exit): void {
  const teams = program
    .command('teams')
    .summary('list teams, make and change them')
    .description('List the teams that one is in. AMBIENT_TEAM says which one the command line speaks of.')
    .addOption(json('the teams as the API serves them'))
    .action(async (options: { json?: boolean }) => exit(await (await load()).teams(options)))
  teams
    .command('list')
    .description('The same as `ambient teams`.')
    .addOption(json('the teams as the API serves them'))
    .action(async (_: unknown, command: Command) => exit(await (await load()).teams(command.optsWithGlobals())))
  const limited = (command: Command) =>
    command
      .option('--run-limit <number>', 'runs at work at once', whole(1, 1_000_000))
      .option(
        '--max-turn <minutes>',
        'longest time a turn of its runs may take, or `none`',
        orNone(whole(1, 1_000_000)),
      )
      .option('--max-run <minutes>', 'the same for all turns of an execution together', orNone(whole(1, 1_000_000)))
      .option('--max-idle <minutes>', 'longest time a sandbox is kept after its work, or `none`', orNone(whole(0, 60)))
      .option('--max-transcript <MiB>', 'largest transcript of a run, or `none`', orNone(whole(1, 1_000_000)))
      .option('--max-disk <GiB>', 'most of the disk that a run may take, or `none`', orNone(positive))
  limited(teams.command('create'))
    .description('Make a team. Only with the admin key.')
    .argument('<name>', 'its name')
    .addOption(json('the team as the API serves it'))
    .action(async (name: string, _: unknown, command: Command) =>
      exit(await (await load()).createTeam(name, command.optsWithGlobals<TeamOptions>())),
    )
  limited(teams.command('update'))
    .description('Rename a team, or set its limits, which hold for new runs. Only with the admin key.')
    .argument('<team>', TEAM)
    .option('--name <name>', 'its new name')
    .addOption(json('the team as the API serves it'))
    .action(async (team: string, _: unknown, command: Command) =>
      exit(await (await load()).updateTeam(team, command.optsWithGlobals<TeamOptions>())),
    )
  teams
    .command('delete')
    .description(
      'Delete a team, with its schedules, environments, service accounts, webhooks and keys. Its runs are cancelled and stay. Only with the admin key.',
    )
    .argument('<team>', TEAM)
    .addOption(json('what went with it'))
    .action(async (team: string, _: unknown, command: Command) =>
      exit(await (await load()).deleteTeam(team, command.optsWithGlobals<TeamOptions>())),
    )
}

function addMembers(program: Command, exit: Exit): void {
  const team = () => new Option('--team <team>', `${TEAM}; unset: the one that the command line speaks of`)
  const members = program
    .command('members')
    .summary('list the members of a team, add and remove them')
    .description('List the members of a team.')
    .addOption(team())
    .addOption(json('the members as the API serves them'))
    .action(async (options: TeamOptions) => exit(await (await load()).members(options)))
  members
    .command('add')
    .description('Add a member. A person who is not known yet is made.')
    .argument('<email>', 'e-mail address of the person')
    .addOption(new Option('--role <role>', 'what the person may do').choices(roles).default('member'))
    .option('--name <name>', 'name of a person who is not known yet')
    .addOption(json('the member as the API serves it'))
    .action(async (email: string, _: unknown, command: Command) =>
      exit(await (await load()).addMember(email, command.optsWithGlobals<TeamOptions & { role: Role }>())),
    )
  members
    .command('role')
    .description('Set the role of a member.')
    .argument('<person>', PERSON)
    .argument('<role>', roles.join(', '))
    .addOption(json('the member as the API serves it'))
    .action(async (person: string, role: string, _: unknown, command: Command) =>
      exit(await (await load()).setRole(person, role, command.optsWithGlobals<TeamOptions>())),
    )
  members
    .command('remove')
    .description('Remove a member. Keys that are for this team alone are revoked.')
    .argument('<person>', PERSON)
    .action(async (person: string, _: unknown, command: Command) =>
      exit(await (await load()).removeMember(person, command.optsWithGlobals<TeamOptions>())),
    )
}

function addPeople(program: Command, exit: Exit): void {
  const people = program
    .command('people')
    .summary('list people, and keep them out')
    .description('List the people of one’s teams; with the admin key all of them.')
    .addOption(json('the people as the API serves them'))
    .action(async (options: PeopleOptions) => exit(await (await load()).people(options)))
  for (const [name, description, disabled] of [
    ['disable', 'Keep a person out: keys and sessions are refused from then on. Only with the admin key.', true],
    ['enable', 'Let a person in again. Only with the admin key.', false],
  ] as const) {
    people
      .command(name)
      .description(description)
      .argument('<person>', PERSON)
      .addOption(json('the person as the API serves it'))
      .action(async (person: string, _: unknown, command: Command) =>
        exit(await (await load()).setDisabled(person, disabled, command.optsWithGlobals<PeopleOptions>())),
      )
  }
  people
    .command('delete')
    .description(
      'Forget a person: name, address, keys, personal schedules. Personal runs are cancelled. Only with the admin key.',
    )
    .argument('<person>', PERSON)
    .addOption(json('what went with them'))
    .action(async (person: string, _: unknown, command: Command) =>
      exit(await (await load()).deletePerson(person, command.optsWithGlobals<PeopleOptions>())),
    )
}

function addKeys(program: Command, exit: Exit): void {
  const keys = program
    .command('keys')
    .summary('list API keys, make and revoke them')
    .description('List one’s API keys. Keys by which hosts join are under `ambient workers keys`.')
    .option('--all', 'all keys that are for the team')
    .addOption(json('the keys as the API serves them'))
    .action(async (options: KeyOptions) => exit(await (await load()).keys(options)))
  keys
    .command('list')
    .description('The same as `ambient keys`.')
    .addOption(json('the keys as the API serves them'))
    .action(async (_: unknown, command: Command) =>
      exit(await (await load()).keys(command.optsWithGlobals<KeyOptions>())),
    )
  keys
    .command('create')
    .description('Make a key. It is printed once, and kept as a hash.')
    .argument('<name>', 'what it is for')
    .addOption(new Option('--scope <scope>', 'what it is good for at most').choices(scopes).default('run'))
    .option('--person <person>', `whose it is: ${PERSON}; only with the admin key. Unset: one’s own`)
    .option('--service-account <name|uid>', 'service account whose it is')
    .option('--team <team>', `the only team that it is good for: ${TEAM}`)
    .addOption(new Option('--days <number>', 'how long it is good; unset: for ever').argParser(whole(1, 3_650)))
    .addOption(json('the key as the API serves it'))
    .action(async (name: string, _: unknown, command: Command) =>
      exit(await (await load()).createKey(name, command.optsWithGlobals<KeyOptions>())),
    )
  keys
    .command('revoke')
    .description('Revoke a key. Whoever has it is refused from then on. The admin key revokes those of every team.')
    .argument('<uid>', 'uid of the key')
    .option('--cascade', 'also the keys that were made with it, and with those')
    .action(async (uid: string, options: { cascade?: boolean }) =>
      exit(await (await load()).revokeKey(uid, options.cascade ?? false)),
    )
}

function addShares(program: Command, exit: Exit): void {
  const shares = program
    .command('shares')
    .summary('share a run with people, teams, or by a link')
    .description('With whom runs are shared, beside their teams.')
  shares
    .command('list')
    .description('List with whom a run is shared.')
    .argument('<id>', RUN)
    .addOption(json('the shares as the API serves them'))
    .action(async (id: string, options: { json?: boolean }) => exit(await (await load()).shares(id, options)))
  shares
    .command('add')
    .description('Share a run: with a person, with a team, or with whoever has a link.')
    .argument('<id>', RUN)
    .option('--person <person>', PERSON)
    .option('--team <uid>', 'uid of the team')
    .option('--link', 'a link, which is printed once')
    .option('--public', 'let the link show the run also to those who have not signed in')
    .addOption(new Option('--level <level>', 'to see the run, or also to steer it').choices(levels).default('view'))
    .addOption(new Option('--days <number>', 'how long it is shared; unset: for ever').argParser(whole(1, 3_650)))
    .addOption(json('the share as the API serves it'))
    .action(async (id: string, _: unknown, command: Command) =>
      exit(await (await load()).share(id, command.optsWithGlobals<ShareOptions>())),
    )
  shares
    .command('remove')
    .description('Take a share back.')
    .argument('<id>', RUN)
    .argument('<uid>', 'uid of the share')
    .action(async (id: string, uid: string) => exit(await (await load()).unshare(id, uid)))
}
