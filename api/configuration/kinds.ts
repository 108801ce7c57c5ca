// What is peculiar to agent profiles, rules and saved prompts.
import type { Router } from 'express'
import { AgentProfile, AgentProfileChange, NewAgentProfile, ProfileConfig } from '../../domain/configuration/profile.ts'
import { NewRule, Rule, RuleChange, type RuleContent } from '../../domain/configuration/rule.ts'
import {
  NewSavedPrompt,
  type PromptContent,
  refuseUnpaired,
  SavedPrompt,
  SavedPromptChange,
} from '../../domain/configuration/saved-prompt.ts'
import { PERSONAL_RULES_BYTES, PROFILES, RULES, RULES_BYTES, SAVED_PROMPTS } from '../../domain/limits.ts'
import { configWithServers, managedServer } from '../../domain/mcp/values.ts'
import { chosenNames } from '../../domain/vault/secret.ts'
import { resolveHarness } from '../../runs/harness.ts'
import { refuseBeyondLimits } from '../../runs/limits.ts'
import { refuseUnknownServers } from '../../runs/mcp-servers.ts'
import { skillsTogether } from '../../runs/skills.ts'
import { configToKeep } from '../../secrets/mcp/values.ts'
import { identitiesWithProfile } from '../../store/accounts/identities.ts'
import { environmentConfig } from '../../store/builds/environments.ts'
import { enabledRuleBytes, type ItemRow } from '../../store/configuration/items.ts'
import type { Tx } from '../../store/database.ts'
import { unknownSecretNames } from '../../store/secrets/run-secrets.ts'
import { refuseUnknownEnvironments } from '../builds/known-environments.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid } from '../errors.ts'
import { refuseUnknown } from '../runs/unknown-fields.ts'
import { fieldsOf, refuseUnsupported } from '../runs/unsupported.ts'
import { shownTo } from '../shown-servers.ts'
import { itemRoutes } from './items.ts'

export const configurationRoutes = (deps: ApiDeps): Router[] => [
  profileRoutes(deps),
  ruleRoutes(deps),
  promptRoutes(deps),
]

const configIn = (row: ItemRow): ProfileConfig => (row.content as { config: ProfileConfig }).config

const profileRoutes = (deps: ApiDeps): Router =>
  itemRoutes(deps, {
    kind: 'profile',
    path: 'profiles',
    word: 'profile',
    view: 'profiles.view',
    manage: 'profiles.manage',
    most: PROFILES,
    create: NewAgentProfile,
    replace: AgentProfileChange,
    shown: AgentProfile,
    async content(tx, { description, config }, { team, by, former }) {
      refuseUnsupported({ config })
      refuseUnknown('config', fieldsOf(config), ProfileConfig)
      refuseBeyondLimits(deps.config, config)
      // What no run could have, is told to whoever writes it.
      if (config.harness) resolveHarness(deps.config, config)
      await refuseUnknownEnvironment(tx, team, config.environment_id)
      const stored = former && configIn(former)
      const names = chosenNames(config.secrets) ?? []
      // One that is named already may be another person's own.
      const added = names.filter((name) => !chosenNames(stored?.secrets)?.includes(name))
      const [unknown] = await unknownSecretNames(tx, { team, person: by }, added)
      if (unknown !== undefined) throw invalid(`config.secrets: there is no secret ${unknown}`)
      await refuseUnknownServers(tx, team, config.mcp_servers)
      const given = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null))
      return { description, config: configToKeep(deps.vault, team, skillsTogether(given), { stored }) }
    },
    serve: (row) => ({
      description: (row.content as { description: string }).description,
      default: row.is_default,
      config: configWithServers(configIn(row), managedServer),
    }),
    shownTo(item, caller) {
      const { config } = item as { config: ProfileConfig }
      return { ...item, config: shownTo(deps, caller).config(config) }
    },
    async refuseDelete(tx, { uid, team }) {
      const [named] = await identitiesWithProfile(tx, team, uid)
      if (named !== undefined)
        throw new HttpError(
          409,
          'conflict',
          `The service account "${named}" names this profile. Clear its profile_uid, or give it another one.`,
        )
    },
  })

async function refuseUnknownEnvironment(tx: Tx, team: string, id: string | null | undefined): Promise<void> {
  if (id && (await environmentConfig(tx, team, id)) === null)
    throw invalid(`config.environment_id: the team has no environment ${id}`)
}

const ruleRoutes = (deps: ApiDeps): Router =>
  itemRoutes(deps, {
    kind: 'rule',
    path: 'rules',
    word: 'rule',
    view: 'rules.view',
    manage: 'rules.manage',
    most: RULES,
    create: NewRule,
    replace: RuleChange,
    shown: Rule,
    async content(
      tx,
      { description, text, repositories, environment_ids, position, enabled },
      { team, owner, former },
    ) {
      await refuseUnknownEnvironments(tx, team, {
        field: 'environment_ids',
        ids: environment_ids,
        former: (former?.content as RuleContent | undefined)?.environment_ids,
      })
      if (enabled) {
        const others = await enabledRuleBytes(tx, team, owner, former?.uid ?? null)
        const most = owner === null ? RULES_BYTES : PERSONAL_RULES_BYTES
        const whose = owner === null ? 'of the team' : 'of one person'
        if (others + Buffer.byteLength(text) > most)
          throw invalid(
            `text: all enabled rules ${whose} together may have ${most} bytes, and the others have ${others}. Shorten one, or disable it`,
          )
      }
      return { description, text, repositories, environment_ids, position, enabled } satisfies RuleContent
    },
    serve: (row) => row.content,
  })

const promptRoutes = (deps: ApiDeps): Router =>
  itemRoutes(deps, {
    kind: 'prompt',
    path: 'prompts',
    word: 'saved prompt',
    view: 'prompts.view',
    manage: 'prompts.manage',
    most: SAVED_PROMPTS,
    create: NewSavedPrompt,
    replace: SavedPromptChange,
    shown: SavedPrompt,
    async content(_tx, { description, text, arguments: declared }) {
      refuseUnpaired({ text, arguments: declared })
      return { description, text, arguments: declared } satisfies PromptContent
    },
    serve(row) {
      const { description, text, arguments: declared } = row.content as unknown as PromptContent
      return {
        description,
        text,
        arguments: declared.map(({ name, description: what, default: fallback }) => ({
          name,
          description: what,
          default: fallback ?? null,
          required: fallback == null,
        })),
      }
    },
  })
