// Large contents, sealed piece by piece under one key of their own, which the vault seals.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { VaultError } from '../../domain/vault/vault.ts'
import type { ContentSeals } from '../../store/runs/checkpoints.ts'
import type { KeyVault } from './vault.ts'

const NONCE = 12
const TAG = 16

/** What seals checkpoints. Where the vault has no key they are kept as they are: a run that has secrets does not begin then. */
export function contentSeals(vault: KeyVault): ContentSeals {
  return {
    begin(id) {
      if (vault.ring.trouble !== null) return null
      const key = randomBytes(32)
      return { sealedKey: vault.seal(key.toString('base64'), contextOf(id)), seal: sealWith(key) }
    },
    open: (id, sealedKey) => openWith(Buffer.from(vault.open(sealedKey, contextOf(id)), 'base64')),
  }
}

const contextOf = (id: string) => `checkpoint:${id}`

/** No piece can stand in the place of another. */
const place = (number: number) => Buffer.from(String(number))

const sealWith = (key: Buffer) => (number: number, bytes: Buffer) => {
  const nonce = randomBytes(NONCE)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG }).setAAD(place(number))
  return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()])
}

const openWith = (key: Buffer) => (number: number, sealed: Buffer) => {
  const nonce = sealed.subarray(0, NONCE)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG })
    .setAAD(place(number))
    .setAuthTag(sealed.subarray(sealed.length - TAG))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(NONCE, sealed.length - TAG)), decipher.final()])
  } catch {
    throw new VaultError('A piece of a checkpoint was changed since it was stored.')
  }
}
