// A service account by the word that a person gave.
import type { IdentityItem } from '../domain/identity.ts'
import type { Api } from './api/client.ts'
import { findNamed } from './find-named.ts'

/** The service account with this uid or name. */
export const findServiceAccount = async (api: Api, given: string): Promise<IdentityItem> =>
  findNamed(
    await api.accounts.serviceAccounts(),
    given,
    { one: 'service account', all: 'service-accounts' },
    (account) => account,
  )
