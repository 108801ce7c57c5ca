// What of a team's and a person's profiles, rules and saved prompts is there for a run.
import { sql } from 'kysely'
import type { SavedPromptUse, UsedItem } from '../../domain/configuration/configuration.ts'
import type { ProfileConfig } from '../../domain/configuration/profile.ts'
import type { RuleContent } from '../../domain/configuration/rule.ts'
import type { PromptContent } from '../../domain/configuration/saved-prompt.ts'
import type { ItemKind } from '../../domain/configuration/shared-item.ts'
import { noTeamLimits, type TeamLimits } from '../../domain/team-limits.ts'
import type { Queryable, Tx } from '../database.ts'
import { atVersion, type ItemRow } from './items.ts'

export interface HeldProfile extends UsedItem {
  isDefault: boolean
  isOwn: boolean
  config: ProfileConfig
}

export type HeldRule = UsedItem & { isOwn: boolean } & Pick<
    RuleContent,
    'repositories' | 'environment_ids' | 'position'
  >

type Kind = ItemKind | 'limits'

/**
 * The enabled rules, and the profiles with one of these names or uids, and the
 * default one; and the team's limits. `person`: whose own ones count as well. One
 * query: a run begins no later for it.
 */
export async function heldFor(
  tx: Tx,
  { team, person, profiles }: { team: string; person: string | null; profiles: readonly string[] },
): Promise<{ profiles: HeldProfile[]; rules: HeldRule[]; limits: TeamLimits }> {
  const rows = await tx
    .selectFrom('shared_items')
    .select([sql<Kind>`kind`.as('kind'), 'uid', 'owner', 'name', 'version', 'is_default'])
    // A rule's text is read by the hosts alone.
    .select(sql<Record<string, unknown>>`content - 'text'`.as('content'))
    .where('team', '=', team)
    .where('deleted_at', 'is', null)
    .where((eb) => eb.or([eb('owner', 'is', null), ...(person === null ? [] : [eb('owner', '=', person)])]))
    .where((eb) =>
      eb.or([
        eb.and([eb('kind', '=', 'rule'), sql<boolean>`(content ->> 'enabled')::boolean`]),
        eb.and([
          eb('kind', '=', 'profile'),
          eb.or([
            eb('is_default', '=', true),
            ...(profiles.length === 0 ? [] : [eb('uid', 'in', profiles), eb('name', 'in', profiles)]),
          ]),
        ]),
      ]),
    )
    .unionAll(
      tx
        .selectFrom('teams')
        .select([sql<Kind>`'limits'`.as('kind'), 'name as uid', sql<string | null>`null`.as('owner'), 'name'])
        .select([sql<number>`0`.as('version'), sql<boolean>`false`.as('is_default')])
        .select(sql<Record<string, unknown>>`limits`.as('content'))
        .where('name', '=', team),
    )
    .execute()
  const used = ({ uid, name, version, owner }: (typeof rows)[number]) => ({ uid, name, version, isOwn: owner !== null })
  return {
    limits: { ...noTeamLimits, ...rows.find(({ kind }) => kind === 'limits')?.content },
    profiles: rows
      .filter(({ kind }) => kind === 'profile')
      .map((row) => ({
        ...used(row),
        isDefault: row.is_default,
        config: (row.content as { config: ProfileConfig }).config,
      })),
    rules: rows
      .filter(({ kind }) => kind === 'rule')
      .map((row) => ({
        ...used(row),
        ...(row.content as Pick<RuleContent, 'repositories' | 'environment_ids' | 'position'>),
      }))
      .sort(inOrder),
  }
}

/** The team's before one's own, the lowest position first, then by name. */
const inOrder = (one: HeldRule, other: HeldRule): number =>
  Number(one.isOwn) - Number(other.isOwn) ||
  one.position - other.position ||
  one.name.localeCompare(other.name) ||
  one.uid.localeCompare(other.uid)

/** A profile at a former version. Null where it has had no such one. */
export async function profileAt(tx: Tx, profile: HeldProfile, version: number): Promise<HeldProfile | null> {
  if (version === profile.version) return profile
  const row = await tx
    .selectFrom('shared_item_versions')
    .select(['name', 'content'])
    .where('uid', '=', profile.uid)
    .where('version', '=', version)
    .executeTakeFirst()
  return row ? { ...profile, version, name: row.name, config: (row.content as { config: ProfileConfig }).config } : null
}

/** One's own before the team's of the same name. Null when there is none, or none of this version. */
export async function promptFor(
  tx: Tx,
  { team, person }: { team: string; person: string | null },
  { uid, name, version }: SavedPromptUse,
): Promise<(UsedItem & { content: PromptContent }) | null> {
  const newest: ItemRow | undefined = await tx
    .selectFrom('shared_items')
    .selectAll()
    .where('team', '=', team)
    .where('kind', '=', 'prompt')
    .where('deleted_at', 'is', null)
    .where((eb) => eb.or([eb('owner', 'is', null), ...(person === null ? [] : [eb('owner', '=', person)])]))
    .where((eb) => (uid === undefined ? eb('name', '=', name ?? '') : eb('uid', '=', uid)))
    .orderBy(sql`owner nulls last`)
    .limit(1)
    .executeTakeFirst()
  if (!newest) return null
  const row = version === undefined || version === newest.version ? newest : await atVersion(tx, newest, version)
  return row && { uid: row.uid, name: row.name, version: row.version, content: row.content as unknown as PromptContent }
}

/** The texts of rules at their versions, one after the other; null where there are none. */
export async function textOfRules(db: Queryable, rules: readonly UsedItem[]): Promise<string | null> {
  if (rules.length === 0) return null
  const rows = await db
    .selectFrom('shared_item_versions')
    .select(['uid', 'version', sql<string>`content ->> 'text'`.as('text')])
    .where((eb) => eb.or(rules.map(({ uid, version }) => eb.and([eb('uid', '=', uid), eb('version', '=', version)]))))
    .execute()
  const texts = rules.map(({ uid }) => rows.find((row) => row.uid === uid)?.text.trim() ?? '')
  return `${texts.filter((text) => text !== '').join('\n\n')}\n`
}
