// What keeps secret values: everything that is not to be read by whoever reads the database is kept as a vault has sealed it.

export interface Vault {
  /** `context` says what the value is (`secret:<uid>`): it opens under the same one only. */
  seal(plain: string, context: string): Buffer
  /** @throws {VaultError} where the key is not here, or the bytes are not what was sealed under this context. */
  open(sealed: Buffer, context: string): string
}

/** A sealed value cannot be opened, or nothing can be sealed. Its message says what to do. */
export class VaultError extends Error {
  override readonly name = 'VaultError'
}
