// What an environment has of secrets in itself: values of its variables, and credentials in the URLs of its repositories.
// They are sealed where a request is read, and opened where a host is given its order; in between nobody needs them.

import type { InlineEnvironment } from '../../domain/run.ts'
import { SEALED_MARK, sealedBytes, sealedText } from '../../domain/vault/sealed.ts'
import type { Vault } from '../../domain/vault/vault.ts'

const ENV = 'environment-variable'
const URL = 'repository-credentials'

export function sealEnvironment<T extends InlineEnvironment>(vault: Vault, environment: T): T {
  return changed(
    environment,
    (value) => sealedText(vault.seal(value, ENV)),
    (credentials) => sealedText(vault.seal(credentials, URL)),
  )
}

/** @throws {VaultError} where the key is not here. */
export function openEnvironment<T extends InlineEnvironment>(vault: Vault, environment: T): T {
  const openAs = (context: string) => (text: string) => {
    const sealed = sealedBytes(text)
    return sealed === null ? text : vault.open(sealed, context)
  }
  return changed(environment, openAs(ENV), openAs(URL))
}

/** Whether any of it lies there as plain text. */
export const isPlain = (environment: InlineEnvironment): boolean =>
  Object.values(environment.env).some((value) => !value.startsWith(SEALED_MARK)) ||
  environment.repos.some(({ url }) => {
    const credentials = userInfo.exec(url)?.[2]
    return credentials !== undefined && !credentials.startsWith(SEALED_MARK)
  })

// As `withoutCredentials` of domain/run.ts: to the last @ before the path.
const userInfo = /^((?:https?|git):\/\/)([^/?#]*)@/

function changed<T extends InlineEnvironment>(
  environment: T,
  value: (text: string) => string,
  credentials: (text: string) => string,
): T {
  return {
    ...environment,
    env: Object.fromEntries(Object.entries(environment.env).map(([name, text]) => [name, value(text)])),
    repos: environment.repos.map((repository) => ({
      ...repository,
      url: repository.url.replace(userInfo, (_, scheme: string, text: string) => `${scheme}${credentials(text)}@`),
    })),
  }
}
