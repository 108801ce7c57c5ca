// Service accounts of a team: Oz's agent identities.
import { type Request, Router } from 'express'
import { Uid } from '../../domain/account.ts'
import { skillSpec } from '../../domain/configuration/skill.ts'
import { IdentityChange, type IdentityConfig, type IdentityItem, NewIdentity } from '../../domain/identity.ts'
import type { McpServers } from '../../domain/mcp/server.ts'
import { pinSkills } from '../../runs/skills.ts'
import { serversToKeep } from '../../secrets/mcp/values.ts'
import {
  changeIdentity,
  deleteIdentity,
  findIdentity,
  IdentityNameTakenError,
  insertIdentity,
  listIdentities,
  type StoredIdentity,
} from '../../store/accounts/identities.ts'
import { note } from '../../store/audit.ts'
import { environmentConfig } from '../../store/builds/environments.ts'
import { findItem } from '../../store/configuration/items.ts'
import type { Tx } from '../../store/database.ts'
import { type Caller, callerOf, insist, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { heedIdentityFields } from '../runs/unknown-fields.ts'
import { shownTo } from '../shown-servers.ts'

export function identityRoutes(deps: ApiDeps): Router {
  const { db, vault } = deps
  const router = Router()
  const keeper =
    ({ team }: Caller) =>
    (servers: McpServers, stored: McpServers | undefined) =>
      serversToKeep(vault, team, servers, { stored })
  const shown = (item: IdentityItem, caller: Caller): IdentityItem => ({
    ...item,
    mcp_servers: shownTo(deps, caller).servers(item.mcp_servers),
  })

  router
    .route('/identities')
    .get(permit('identities.view'), async (request, response) => {
      const factory = queryOf(request).get('factory_uid') || null
      const caller = callerOf(response)
      const items = await listIdentities(db, caller.team, factory)
      response.json({ agents: items.map((item) => shown(item, caller)) })
    })
    .post(permit('identities.manage'), async (request, response) => {
      const caller = callerOf(response)
      const warnings = heedIdentityFields(request.body, NewIdentity)
      const { name, ...asked } = parseBody(NewIdentity, request)
      if (asked.on_behalf_of_enabled) insist(caller, 'identities.delegate')
      const answer = await refusingTaken(() =>
        once(deps, request, response, 'POST /agent/identities', async (tx) => {
          await refuseUnknownEnvironment(tx, caller.team, asked.environment_id)
          await refuseUnknownProfile(tx, caller, asked.profile_uid)
          const known = await withKnownSkills(tx, caller.team, asked)
          const stored = changed({ name, config: {}, onBehalfOf: false }, known, keeper(caller))
          const item = await insertIdentity(tx, caller.team, stored, caller)
          const thing = { type: 'service_account', uid: item.uid }
          await note(tx, { caller, action: 'identities.create', thing, detail: { name } })
          return { status: 201, response: { ...item, ...(warnings.length > 0 && { warnings }) } }
        }),
      )
      response.status(answer.status).json(shown(answer.response as IdentityItem, caller))
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/identities/:identityUid')
    .get(permit('identities.view'), async (request, response) => {
      const uid = identityUid(request)
      const caller = callerOf(response)
      const item = await findIdentity(db, caller.team, uid)
      if (item === null) throw missing(uid)
      response.json(shown(item, caller))
    })
    .put(permit('identities.manage'), async (request, response) => {
      const caller = callerOf(response)
      const uid = identityUid(request)
      const warnings = heedIdentityFields(request.body, IdentityChange)
      const asked = parseBody(IdentityChange, request)
      const item = await refusingTaken(() =>
        db.transaction().execute(async (tx) => {
          await refuseUnknownEnvironment(tx, caller.team, asked.environment_id)
          await refuseUnknownProfile(tx, caller, asked.profile_uid)
          const known = await withKnownSkills(tx, caller.team, asked)
          const put = await changeIdentity(tx, caller.team, uid, (stored) => {
            if (asked.on_behalf_of_enabled != null && asked.on_behalf_of_enabled !== stored.onBehalfOf)
              insist(caller, 'identities.delegate')
            return changed(stored, known, keeper(caller))
          })
          const thing = { type: 'service_account', uid }
          if (put) await note(tx, { caller, action: 'identities.update', thing, detail: { name: put.name } })
          return put
        }),
      )
      if (item === null) throw missing(uid)
      response.json({ ...shown(item, caller), ...(warnings.length > 0 && { warnings }) })
    })
    .delete(permit('identities.manage'), async (request, response) => {
      const caller = callerOf(response)
      const uid = identityUid(request)
      const outcome = await db.transaction().execute(async (tx) => {
        const ended = await deleteIdentity(tx, caller.team, uid)
        const thing = { type: 'service_account', uid }
        if (ended === 'deleted') await note(tx, { caller, action: 'identities.delete', thing })
        return ended
      })
      if (outcome === 'unknown') throw missing(uid)
      if (outcome === 'default') throw invalid('The default service account of a team cannot be deleted.')
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  return router
}

function identityUid(request: Request): string {
  const uid = Uid.safeParse(request.params.identityUid)
  if (!uid.success) throw missing(String(request.params.identityUid))
  return uid.data
}

const missing = (uid: string) => notFound(`There is no service account ${uid}.`)

/** With its skills as answers name them. @throws {HttpError} where one is not there, or cannot be used. */
async function withKnownSkills<T extends Pick<IdentityChange, 'skills' | 'environment_id'>>(
  tx: Tx,
  team: string,
  asked: T,
): Promise<T> {
  if (asked.skills == null || asked.skills.length === 0) return asked
  const place = { team, environmentId: asked.environment_id || null, forkedFrom: null }
  return { ...asked, skills: (await pinSkills(tx, place, asked.skills)).map(skillSpec) }
}

async function refuseUnknownEnvironment(tx: Tx, team: string, id: string | null | undefined): Promise<void> {
  if (id && (await environmentConfig(tx, team, id)) === null)
    throw invalid(`environment_id: the team has no environment ${id}`)
}

/** A personal one is for the runs of its owner. */
async function refuseUnknownProfile(
  tx: Tx,
  { team, uid: caller }: Caller,
  uid: string | null | undefined,
): Promise<void> {
  if (!uid) return
  const found = await findItem(tx, { team, uid: caller, seesAll: false }, 'profile', uid)
  if (found === null) throw invalid(`profile_uid: the team has no profile ${uid}`)
  if (found.owner !== null) throw invalid(`profile_uid: the profile "${found.name}" is a personal one`)
}

async function refusingTaken<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof IdentityNameTakenError) throw new HttpError(409, 'conflict', `name: ${error.message}`)
    throw error
  }
}

/** Fields that are kept as they are asked for. */
const plain = [
  ...([
    'description',
    'prompt',
    'environment_id',
    'base_model',
    'harness_auth_secrets',
    'inference_providers',
  ] as const),
  ...(['secrets', 'skills', 'worker_host', 'credential_strategy', 'agent_type'] as const),
  ...(['default_runner_uid', 'factory_uid', 'profile_uid'] as const),
]

/** Absent or null: as it is. Empty: cleared. */
function changed(
  stored: StoredIdentity,
  asked: IdentityChange | Omit<NewIdentity, 'name'>,
  keepServers: (servers: McpServers, stored: McpServers | undefined) => McpServers,
): StoredIdentity {
  const config: Record<string, unknown> = { ...stored.config }
  const put = (field: keyof IdentityConfig, value: unknown) => {
    if (value == null) return
    if (isEmpty(value)) delete config[field]
    else config[field] = value
  }
  for (const field of plain) put(field, asked[field])
  put('harness', harnessOf(asked))
  put('mcp_servers', asked.mcp_servers && keepServers(asked.mcp_servers, stored.config.mcp_servers))
  put('memory_stores', asked.memory?.attached_stores)
  if (asked.memory && 'auto_memory' in asked.memory && asked.memory.auto_memory?.enabled) config.auto_memory = true
  const after = config as IdentityConfig
  if (after.base_model && after.harness && after.harness.type !== 'oz')
    throw invalid('base_model: must be empty where the harness is another than oz; harness.model_id says the model')
  const name = 'name' in asked ? (asked.name ?? stored.name) : stored.name
  return { name, config: after, onBehalfOf: asked.on_behalf_of_enabled ?? stored.onBehalfOf }
}

const isEmpty = (value: unknown): boolean => {
  if (value === '') return true
  if (Array.isArray(value)) return value.length === 0
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}

/** The older field says the type alone; where both are there they have to agree. Empty clears. */
function harnessOf({ harness, base_harness: base }: Pick<IdentityChange, 'harness' | 'base_harness'>): unknown {
  if (harness == null) return base == null || base === '' ? (base === '' ? {} : undefined) : { type: base }
  if (base && base !== harness.type) throw invalid(`base_harness: is another than harness.type, "${harness.type}"`)
  return harness
}
