// A stored environment by the word that a person gave.
import type { EnvironmentItem } from '../domain/environment.ts'
import type { Api } from './api/client.ts'
import { findNamed } from './find-named.ts'

/** The environment with this uid or name. */
export const findEnvironment = async (api: Api, given: string): Promise<EnvironmentItem> =>
  findNamed(await api.environments.list(), given, { one: 'environment', all: 'environments' }, ({ uid, config }) => ({
    uid,
    name: config.name,
  }))
