// People who come from a provider of identities: what is remembered while they are there, and who they are here.
import { sql } from 'kysely'
import { atLeast, type Role } from '../../domain/permission.ts'
import { type Actor, note } from '../audit.ts'
import type { Queryable, Tx } from '../database.ts'
import { hashOfSecret } from '../secret-hash.ts'
import { personByEmail } from './people.ts'
import { addMember, removeMember, setRole, teamExists } from './teams.ts'

/** How long somebody may take to sign in at the provider. */
const SIGN_IN_MINUTES = 15

export interface PendingSignIn {
  state: string
  nonce: string
  verifier: string
}

/** Remembers a sign-in by what the browser keeps of it. */
export async function rememberSignIn(db: Queryable, token: string, pending: PendingSignIn): Promise<void> {
  await db
    .insertInto('sign_ins')
    .values({
      ...pending,
      token_hash: hashOfSecret(token),
      expires_at: sql`now() + make_interval(mins => ${SIGN_IN_MINUTES})`,
    })
    .execute()
}

/** It can be taken once. Null when there is none, or it has taken too long. */
export async function takeSignIn(db: Queryable, token: string): Promise<PendingSignIn | null> {
  const row = await db
    .deleteFrom('sign_ins')
    .where('token_hash', '=', hashOfSecret(token))
    .returning(['state', 'nonce', 'verifier', sql<boolean>`expires_at > now()`.as('is_in_time')])
    .executeTakeFirst()
  if (!row?.is_in_time) return null
  return { state: row.state, nonce: row.nonce, verifier: row.verifier }
}

/** What a provider vouches for. */
export interface ProvenIdentity {
  issuer: string
  subject: string
  email: string | null
  name: string | null
  picture: string | null
  groups: readonly string[]
}

/** Who gets in, and as what. */
export interface AdmissionRules {
  /** Of e-mail addresses, in lower case. Empty: all. */
  domains: readonly string[]
  defaultTeam: string
  /** Null: none. */
  defaultRole: Role | null
  groupRoles: readonly { group: string; team: string; role: Role }[]
}

export type RefusalReason = 'no_email' | 'domain' | 'other_account' | 'disabled' | 'no_team'

/** Who is signed in at the provider does not get in here. */
export class SignInRefusedError extends Error {
  override readonly name = 'SignInRefusedError'
  readonly reason: RefusalReason
  /** Who it is here, where that is known. */
  readonly person: string | null

  constructor(reason: RefusalReason, person: string | null = null) {
    super(`The sign-in is refused: ${reason}.`)
    this.reason = reason
    this.person = person
  }
}

/** The person behind an identity, made and put into teams where the rules say so. @throws {SignInRefusedError} */
export async function admitPerson(
  tx: Tx,
  identity: ProvenIdentity,
  rules: AdmissionRules,
  from: Pick<Actor, 'address' | 'userAgent'>,
): Promise<string> {
  const { email } = identity
  if (email === null) throw new SignInRefusedError('no_email')
  if (rules.domains.length > 0 && !rules.domains.includes(domainOf(email))) throw new SignInRefusedError('domain')
  const person = (await personByLogin(tx, identity)) ?? (await linkLogin(tx, identity, email))
  const { disabled_at: disabledAt } = await tx
    .updateTable('people')
    .set({
      updated_at: sql`now()`,
      // The provider's word on the address counts, unless somebody else has it here.
      email: sql`case when exists (select from people as other where other.email = ${email} and other.uid <> people.uid) then email else ${email} end`,
      ...(identity.picture !== null && { photo_url: identity.picture }),
    })
    .where('uid', '=', person)
    .returning('disabled_at')
    .executeTakeFirstOrThrow()
  if (disabledAt !== null) throw new SignInRefusedError('disabled', person)
  const actor: Actor = { ...from, type: 'user', uid: person, name: identity.name ?? email }
  await followGroups(tx, person, identity.groups, rules, actor)
  if (!(await isInTeam(tx, person))) {
    if (rules.defaultRole === null || !(await teamExists(tx, rules.defaultTeam)))
      throw new SignInRefusedError('no_team', person)
    await addMember(tx, rules.defaultTeam, person, rules.defaultRole)
    await noteMembership(tx, actor, 'members.add', rules.defaultTeam, { role: rules.defaultRole, by: 'sign_in' })
  }
  return person
}

const domainOf = (email: string) => email.slice(email.lastIndexOf('@') + 1)

async function personByLogin(tx: Tx, { issuer, subject }: ProvenIdentity): Promise<string | null> {
  const row = await tx
    .updateTable('person_logins')
    .set({ last_used_at: sql`now()` })
    .where('issuer', '=', issuer)
    .where('subject', '=', subject)
    .returning('person')
    .executeTakeFirst()
  return row?.person ?? null
}

/**
 * The first sign-in: whoever has the address here. But not where they have
 * signed in as somebody else of the same provider: an address that was given to
 * another person does not give them the account.
 */
async function linkLogin(tx: Tx, { issuer, subject, name }: ProvenIdentity, email: string): Promise<string> {
  const { uid } = await personByEmail(tx, { email, displayName: name ?? undefined })
  const made = await tx
    .insertInto('person_logins')
    .values({ issuer, subject, person: uid })
    .onConflict((conflict) => conflict.doNothing())
    .returning('person')
    .executeTakeFirst()
  if (made) return uid
  // Another request was first with the same sign-in, or the address is somebody else's.
  const there = await personByLogin(tx, { issuer, subject } as ProvenIdentity)
  if (there === null) throw new SignInRefusedError('other_account', uid)
  return there
}

/** Teams that groups are named for have the members that the provider says, as far as they sign in. */
async function followGroups(
  tx: Tx,
  person: string,
  groups: readonly string[],
  { groupRoles, defaultTeam, defaultRole }: AdmissionRules,
  actor: Actor,
): Promise<void> {
  const teams = Map.groupBy(groupRoles, ({ team }) => team)
  for (const [team, rules] of teams) {
    if (!(await teamExists(tx, team))) continue
    const given = rules.filter(({ group }) => groups.includes(group)).map(({ role }) => role)
    const least = team === defaultTeam ? defaultRole : null
    const role = given.reduce<Role | null>((best, one) => (best === null || atLeast(one, best) ? one : best), least)
    const stored = await roleOf(tx, team, person)
    if (role === stored) continue
    if (role === null) await removeMember(tx, team, person)
    else if (stored === null) await addMember(tx, team, person, role)
    else await setRole(tx, team, person, role)
    const action = role === null ? 'members.remove' : stored === null ? 'members.add' : 'members.update'
    await noteMembership(tx, actor, action, team, { role, by: 'groups' })
  }
}

async function roleOf(tx: Tx, team: string, person: string): Promise<Role | null> {
  const row = await tx
    .selectFrom('members')
    .select('role')
    .where('team', '=', team)
    .where('person', '=', person)
    .executeTakeFirst()
  return row?.role ?? null
}

const isInTeam = async (tx: Tx, person: string) =>
  (await tx.selectFrom('members').select('team').where('person', '=', person).limit(1).executeTakeFirst()) !== undefined

const noteMembership = (tx: Tx, caller: Actor, action: string, team: string, detail: Record<string, string | null>) =>
  note(tx, { caller, action, thing: { type: 'person', uid: caller.uid, team }, detail })
