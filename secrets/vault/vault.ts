// Envelope encryption: each value under a key of its own, that key under one of the ring's, which never leaves this process.
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import type { Config } from '../../config.ts'
import { type Vault, VaultError } from '../../domain/vault/vault.ts'
import { type KeyRing, loadKeyRing } from './key-ring.ts'

export type { Vault } from '../../domain/vault/vault.ts'
export { VaultError } from '../../domain/vault/vault.ts'

/** A vault that can also bring what is sealed under the newest key. */
export interface KeyVault extends Vault {
  /** The same value under the newest key; null where it is already. @throws {VaultError} */
  rewrap(sealed: Buffer): Buffer | null
  /** The name of the key that a value is sealed under. @throws {VaultError} for what was not sealed here. */
  keyOf(sealed: Buffer): string
  /** Names of the keys, the one that seals first. Empty where none could be had. */
  keys(): string[]
  /** Where the keys come from, and why there are none. */
  readonly ring: Pick<KeyRing, 'source' | 'trouble' | 'addKey'>
}

// A record: mark, name of the key, the wrapped data key, the value. Numbers of bytes.
export const MARK = Buffer.from('AMBV1')
export const NAME_BYTES = 8
const NONCE = 12
const TAG = 16
const KEY = 32
const WRAPPED = NONCE + KEY + TAG
const HEADER = MARK.length + NAME_BYTES

/** The vault of the settings. Without keys it is there all the same: what needs none goes on, and says why the rest cannot. */
export const createVault = async (config: VaultSettings): Promise<KeyVault> => vaultOf(await loadKeyRing(config))

export type VaultSettings = Pick<
  Config,
  'AMBIENT_DATA' | 'AMBIENT_VAULT_KEY' | 'AMBIENT_VAULT_KEY_FILE' | 'AMBIENT_VAULT_KEY_COMMAND'
>

export function vaultOf(ring: KeyRing): KeyVault {
  const named = () => ring.keys().map((key) => ({ key, name: nameOf(key) }))

  function newest(): { key: Buffer; name: Buffer } {
    const [first] = named()
    if (first === undefined) throw new VaultError(`The vault has no key: ${ring.trouble ?? 'none is set.'}`)
    return first
  }

  function keyNamed(name: Buffer): Buffer {
    const find = () => named().find((each) => each.name.equals(name))?.key
    // Another process may have added a key to the file since.
    const key = find() ?? (ring.reload() ? find() : undefined)
    if (key !== undefined) return key
    throw new VaultError(
      `This value is sealed under the key ${name.toString('hex')}, which is not here. ${ring.trouble ?? `Add that key to ${ring.source}, as it was when the value was stored.`}`,
    )
  }

  const wrap = ({ key, name }: { key: Buffer; name: Buffer }, dataKey: Buffer) =>
    Buffer.concat([MARK, name, encrypt(key, dataKey, Buffer.concat([MARK, name]))])

  return {
    ring,
    keys: () => named().map(({ name }) => name.toString('hex')),
    keyOf: (sealed) => nameIn(sealed).toString('hex'),
    seal(plain, context) {
      const dataKey = randomBytes(KEY)
      const value = encrypt(dataKey, Buffer.from(plain, 'utf8'), Buffer.from(context, 'utf8'))
      return Buffer.concat([wrap(newest(), dataKey), value])
    },
    open(sealed, context) {
      const dataKey = unwrap(sealed, keyNamed(nameIn(sealed)))
      const value = decrypt(dataKey, sealed.subarray(HEADER + WRAPPED), Buffer.from(context, 'utf8'))
      if (value === null) throw new VaultError(`This value was not sealed as ${context}: it was changed, or moved.`)
      return value.toString('utf8')
    },
    rewrap(sealed) {
      const to = newest()
      const name = nameIn(sealed)
      if (name.equals(to.name)) return null
      const dataKey = unwrap(sealed, keyNamed(name))
      return Buffer.concat([wrap(to, dataKey), sealed.subarray(HEADER + WRAPPED)])
    },
  }
}

/** A key is known by what it is: nobody has to name one, and two never share a name. */
const nameOf = (key: Buffer): Buffer =>
  createHash('sha256').update('ambient vault key').update(key).digest().subarray(0, NAME_BYTES)

function nameIn(sealed: Buffer): Buffer {
  if (sealed.length < HEADER + WRAPPED + NONCE + TAG || !sealed.subarray(0, MARK.length).equals(MARK))
    throw new VaultError('This is no value that a vault has sealed.')
  return sealed.subarray(MARK.length, HEADER)
}

function unwrap(sealed: Buffer, key: Buffer): Buffer {
  const dataKey = decrypt(key, sealed.subarray(HEADER, HEADER + WRAPPED), sealed.subarray(0, HEADER))
  if (dataKey === null) throw new VaultError('This value was changed since it was sealed.')
  return dataKey
}

function encrypt(key: Buffer, plain: Buffer, context: Buffer): Buffer {
  const nonce = randomBytes(NONCE)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG }).setAAD(context)
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** Null where it is not what was encrypted with this key and context. */
function decrypt(key: Buffer, bytes: Buffer, context: Buffer): Buffer | null {
  const tag = bytes.subarray(bytes.length - TAG)
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE), { authTagLength: TAG })
    .setAAD(context)
    .setAuthTag(tag)
  try {
    return Buffer.concat([decipher.update(bytes.subarray(NONCE, bytes.length - TAG)), decipher.final()])
  } catch {
    return null // The one thing that can go wrong: the tag does not fit.
  }
}
