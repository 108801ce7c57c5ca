// The secrets that a new run asks for by name.
import { HttpError } from '../domain/problem.ts'
import { chosenNames, type SecretChoice } from '../domain/vault/secret.ts'
import type { Queryable } from '../store/database.ts'
import { type SecretHolder, secretsOf } from '../store/secrets/run-secrets.ts'

/** @throws {HttpError} 422 for a name that is not in the run's scope. */
export async function refuseUnknownSecrets(
  db: Queryable,
  holder: SecretHolder,
  choice: SecretChoice | null | undefined,
): Promise<void> {
  const names = chosenNames(choice)
  if (names === null || names.length === 0) return
  const found = await secretsOf(db, holder, names)
  const missing = names.filter((name) => !found.some((secret) => secret.name === name))
  if (missing.length === 0) return
  throw new HttpError(
    422,
    'operation_not_supported',
    `config.secrets: there is no secret ${missing.join(', ')} that this run could have.`,
  )
}
