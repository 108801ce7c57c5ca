// `ambient service-accounts`: as whom runs work that no person is behind.
import type { AgentName } from '../../domain/harness.ts'
import type { IdentityChange, IdentityItem } from '../../domain/identity.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import { findServiceAccount } from '../find-service-account.ts'
import { table } from '../render/table.ts'
import { clean, oneLine } from '../render/text.ts'
import { createScreen } from '../screen.ts'

interface JsonOption {
  json?: boolean
}

export interface ServiceAccountOptions extends JsonOption {
  name?: string
  description?: string
  prompt?: string
  environment?: string
  agent?: AgentName
  model?: string
  onBehalfOf?: boolean
}

export async function serviceAccounts({ json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const list = await api.accounts.serviceAccounts()
  if (json) screen.write(`${JSON.stringify({ agents: list })}\n`)
  else screen.write(table(['NAME', 'UID', 'AGENT', 'MODEL', 'DESCRIPTION'], list.map(rowOf), screen.style.colours.dim))
  return exitCodes.succeeded
}

const rowOf = ({ name, uid, harness, base_model: model, description, is_default: isDefault }: IdentityItem) => [
  clean(name),
  uid,
  clean(harness?.agent ?? harness?.type ?? ''),
  clean(harness?.model_id ?? model ?? ''),
  oneLine(description ?? (isDefault ? 'holds for runs that name no other' : ''), 60),
]

export async function create(name: string, options: ServiceAccountOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const made = await api.accounts.createServiceAccount({ ...(await fieldsOf(api, options, null)), name })
  screen.write(options.json ? `${JSON.stringify(made)}\n` : `${clean(made.name)} is made: ${made.uid}\n`)
  return exitCodes.succeeded
}

/** What no option names stays as it is. */
export async function update(given: string, options: ServiceAccountOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, harness } = await findServiceAccount(api, given)
  const fields = await fieldsOf(api, options, harness)
  const { name } = options
  if (name === undefined && Object.keys(fields).length === 0) throw usageError('Say what is to change, by an option.')
  const changed = await api.accounts.changeServiceAccount(uid, { ...fields, ...(name !== undefined && { name }) })
  screen.write(options.json ? `${JSON.stringify(changed)}\n` : `${clean(changed.name)} is changed.\n`)
  return exitCodes.succeeded
}

/** An empty text clears what there is. */
async function fieldsOf(
  api: Api,
  options: ServiceAccountOptions,
  former: IdentityItem['harness'],
): Promise<IdentityChange> {
  const { description, prompt, environment, onBehalfOf } = options
  return {
    ...(description !== undefined && { description }),
    ...(prompt !== undefined && { prompt }),
    ...(environment !== undefined && {
      environment_id: environment === '' ? '' : (await findEnvironment(api, environment)).uid,
    }),
    ...agentAndModel(options, former),
    ...(onBehalfOf !== undefined && { on_behalf_of_enabled: onBehalfOf }),
  }
}

/** A harness is put as a whole: what it says beside the model stays, unless another agent is named. */
function agentAndModel({ agent, model }: ServiceAccountOptions, former: IdentityItem['harness']): IdentityChange {
  const modelId = model === '' ? null : model
  if (agent !== undefined) return { harness: { type: agent, model_id: modelId }, base_model: '' }
  if (model === undefined) return {}
  return former === null ? { base_model: model } : { harness: { ...former, model_id: modelId }, base_model: '' }
}

export async function remove(given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, name } = await findServiceAccount(api, given)
  await api.accounts.deleteServiceAccount(uid)
  screen.write(`${clean(name)} is deleted, and its keys with it. Runs that it carried out stay.\n`)
  return exitCodes.succeeded
}
