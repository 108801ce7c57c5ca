// A stored environment by the word that a person gave.
import { typed } from '../config.ts'
import type { EnvironmentItem } from '../domain/environment.ts'
import { nearest } from '../domain/nearest.ts'
import type { Api } from './client.ts'
import { usageError } from './exit.ts'
import { clean } from './render/text.ts'

/** The environment with this uid or name. */
export async function findEnvironment(api: Api, given: string): Promise<EnvironmentItem> {
  const all = await api.environments.list()
  const found = all.find(({ uid }) => uid === given) ?? all.find(({ config }) => config.name === given)
  if (found) return found
  const meant = nearest(
    given,
    all.map(({ config }) => config.name),
  )
  throw usageError(
    `There is no environment ${given}.`,
    meant === null ? `The environments: ${typed} environments` : `Did you mean ${clean(meant)}?`,
  )
}
