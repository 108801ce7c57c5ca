// Under which keys everything lies, and how it comes under another one, while everything runs.
import { HIDDEN, type InlineEnvironment } from '../../domain/run.ts'
import { VaultError } from '../../domain/vault/vault.ts'
import type { VaultState } from '../../domain/vault/vault-state.ts'
import type { Db } from '../../store/database.ts'
import { sealPlain } from '../../store/secrets/plain-environments.ts'
import { countSealed, rewrapSealed, type Seals } from '../../store/secrets/sealed-values.ts'
import { isPlain, sealEnvironment } from './inline.ts'
import { type KeyVault, MARK } from './vault.ts'

export async function vaultState(db: Db, vault: KeyVault): Promise<VaultState> {
  const counts = await countSealed(db, sealsOf(vault))
  const keys = vault.keys()
  let plain = 0
  await sealPlain(db, (environment) => {
    if (needsSeal(environment)) plain += 1
    return null
  })
  return {
    source: vault.ring.source,
    trouble: vault.ring.trouble,
    keys,
    sealed: [...counts].map(([key, values]) => ({ key, values, is_here: keys.includes(key) })),
    plain,
  }
}

/** Brings everything under the newest key, and seals what was stored before there was a vault. @returns how many values. */
export async function rotate(db: Db, vault: KeyVault): Promise<number> {
  await sealPlain(db, (environment) => (needsSeal(environment) ? sealEnvironment(vault, environment) : null))
  return await rewrapSealed(db, sealsOf(vault))
}

/** A build that is over has its values hidden, and a deleted environment. */
const needsSeal = (environment: InlineEnvironment): boolean =>
  isPlain(environment) && !Object.values(environment.env).includes(HIDDEN)

const sealsOf = (vault: KeyVault): Seals => ({
  mark: MARK,
  keyOf: (sealed) => unlessUnfit(() => vault.keyOf(sealed)),
  rewrap: (sealed) => unlessUnfit(() => vault.rewrap(sealed)),
})

/** What only looks like a sealed value, or lies under a key that is not here, is counted and left as it is. */
function unlessUnfit<T>(work: () => T): T | null {
  try {
    return work()
  } catch (error) {
    if (error instanceof VaultError) return null
    throw error
  }
}
