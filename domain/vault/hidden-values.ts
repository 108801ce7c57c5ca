// What of a run is hidden in all that is stored of it.
import type { InlineEnvironment } from '../run.ts'
import type { GivenSecret } from './secret.ts'

/** Of variables that are written in a request, shorter ones are taken for settings: `true`, `staging`. In characters. */
const VARIABLE_CHARS = 8

/** The environment as it is opened: with its values. */
export function hiddenValues({
  secrets,
  hidden_values: others = [],
  environment,
}: {
  secrets: readonly GivenSecret[]
  hidden_values?: readonly string[]
  environment: InlineEnvironment
}): string[] {
  const variables = Object.values(environment.env).filter((value) => value.length >= VARIABLE_CHARS)
  const credentials = environment.repos.flatMap(({ url }) => credentialsIn(url))
  return [...secrets.map(({ value }) => value), ...others, ...variables, ...credentials]
}

/** The password of a URL, or the name that stands for one, as it is written there and as it is meant. */
function credentialsIn(url: string): string[] {
  const { protocol, username = '', password = '' } = URL.parse(url) ?? {}
  // Servers of ssh have a name there that everybody knows.
  const secret = protocol === 'ssh:' ? '' : password === '' ? username : password
  if (secret === '') return []
  try {
    return [secret, decodeURIComponent(secret)]
  } catch {
    return [secret] // It has a % that begins no code.
  }
}
