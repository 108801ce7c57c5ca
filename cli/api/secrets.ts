// Secrets and the vault, as the command line asks for them.
import type { SecretItem, SecretPage } from '../../domain/vault/secret.ts'
import type { VaultRotation, VaultState } from '../../domain/vault/vault-state.ts'
import type { Requests } from './requests.ts'

export interface SecretsApi {
  /** All that the caller sees, by name. */
  list(query: Readonly<Record<string, string | undefined>>): Promise<SecretItem[]>
  create(body: unknown): Promise<SecretItem>
  change(uid: string, body: unknown): Promise<SecretItem>
  remove(uid: string): Promise<void>
  vault(): Promise<VaultState>
  rotate(body: { new_key: boolean }): Promise<VaultRotation>
}

/** With very many values, looking at all of them takes its time. */
const ROTATE_TIMEOUT_MS = 30 * 60_000

export function createSecretsApi(base: string, { steady, post, patch, remove, json }: Requests): SecretsApi {
  const secrets = `${base}/secrets`
  const vault = `${base}/vault`
  return {
    async list(query) {
      const all: SecretItem[] = []
      let cursor: string | undefined
      do {
        const search = new URLSearchParams({ limit: '500' })
        for (const [name, value] of Object.entries({ ...query, cursor }))
          if (value !== undefined) search.set(name, value)
        const page = await json<SecretPage>(steady(`${secrets}?${search}`))
        all.push(...page.secrets)
        cursor = page.page_info.next_cursor
      } while (cursor !== undefined)
      return all
    },
    create: (body) => json(post(secrets, body)),
    change: (uid, body) => patch(`${secrets}/${uid}`, body),
    remove: (uid) => remove(`${secrets}/${uid}`),
    vault: () => json(steady(vault, () => ({ signal: AbortSignal.timeout(ROTATE_TIMEOUT_MS) }))),
    rotate: (body) =>
      json(
        steady(`${vault}/rotate`, () => ({
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
          signal: AbortSignal.timeout(ROTATE_TIMEOUT_MS),
        })),
      ),
  }
}
