// Whose a new run is, as whom it works, and what it takes over from the service account that carries it out.
import type { Principal } from '../domain/permission.ts'
import { HttpError, invalid } from '../domain/problem.ts'
import type { AgentConfig, StartRun } from '../domain/run.ts'
import { identityForRun, type RunIdentity } from '../store/accounts/identities.ts'
import { findActiveMember } from '../store/accounts/teams.ts'
import type { Queryable } from '../store/database.ts'
import type { NewRun } from '../store/runs/runs.ts'

export type RunOwner = Pick<
  NewRun,
  'team' | 'scope' | 'created_by_type' | 'created_by' | 'executor_type' | 'executor'
> & {
  /** What holds where the request does not say; null for a personal run. */
  identity: RunIdentity | null
}

/** Who asks for a run. */
export type Asker = Principal & { team: string }

/** What a request says of it. */
export type OwnerFields = Pick<StartRun, 'team' | 'agent_identity_uid' | 'on_behalf_of'>

/**
 * Whose a run will be that this caller asks for.
 * @throws {HttpError} 400 for a service account or person that is not of the
 * team, and for a personal run that is to have one; 403 where the caller may not
 * speak for them.
 */
export async function ownerOf(db: Queryable, caller: Asker, asked: OwnerFields): Promise<RunOwner> {
  const { team } = caller
  const named = asked.agent_identity_uid || null
  const isPersonal = asked.team === false
  if (isPersonal && named !== null) throw invalid('agent_identity_uid: only runs of the team have one (team: false)')
  if (isPersonal && caller.type === 'service_account')
    throw invalid('team: the runs of a service account are those of its team')
  if (caller.type === 'service_account' && named !== null && named !== caller.uid)
    throw new HttpError(403, 'not_authorized', 'agent_identity_uid: a service account starts runs as itself alone.')
  const agent = caller.type === 'service_account' ? caller.uid : named
  const identity = isPersonal ? null : await identityForRun(db, team, agent)
  if (agent !== null && identity === null) throw invalid(`agent_identity_uid: the team has no service account ${agent}`)
  const creator = await creatorOf(db, caller, asked.on_behalf_of || null, identity)
  const executor: Principal = agent === null ? creator : { type: 'service_account', uid: agent }
  return {
    team,
    scope: isPersonal ? 'User' : 'Team',
    created_by_type: creator.type,
    created_by: creator.uid,
    executor_type: executor.type,
    executor: executor.uid,
    identity,
  }
}

async function creatorOf(
  db: Queryable,
  { type, uid, team }: Asker,
  onBehalfOf: string | null,
  identity: RunIdentity | null,
): Promise<Principal> {
  if (onBehalfOf === null) return { type, uid }
  if (type !== 'service_account' || !identity?.onBehalfOf)
    throw new HttpError(
      403,
      'not_authorized',
      'on_behalf_of: only for the key of a service account that has on_behalf_of_enabled.',
    )
  const person = await findActiveMember(db, team, onBehalfOf)
  if (person === null) throw invalid(`on_behalf_of: the team has no active member ${onBehalfOf}`)
  return { type: 'user', uid: person.uid }
}

/**
 * What a service account has for its runs.
 * @throws {HttpError} 422 where that has something that runs of this server cannot have yet.
 */
export function identityConfig(identity: RunIdentity): AgentConfig {
  refuseWhatCannotBeGiven(identity)
  const { prompt, environment_id, base_model, harness, worker_host, mcp_servers, secrets, skills } = identity.config
  const { harness_auth_secrets } = identity.config
  return {
    base_prompt: prompt,
    environment_id,
    model_id: base_model,
    harness,
    harness_auth_secrets,
    worker_host,
    mcp_servers,
    secrets,
    skills,
  }
}

/** What can be kept of a service account, and not be given to its runs yet. A run that lacks it would be worse than none. */
const notYet = ['memory_stores', 'inference_providers'] as const

function refuseWhatCannotBeGiven({ name, config }: RunIdentity): void {
  const named = notYet.filter((field) => config[field] !== undefined)
  if (config.auto_memory || named.length > 0)
    throw new HttpError(
      422,
      'operation_not_supported',
      `The service account "${name}" has ${[...named, ...(config.auto_memory ? ['memory'] : [])].join(', ')}, which this server cannot give to its runs yet. Clear it, or have another one carry out the run.`,
    )
}
