// The keys that the vault's data keys are wrapped with: from a setting, a command, or a file.
import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { isHexKey, keyWords } from '../../domain/vault/key-words.ts'
import { VaultError } from '../../domain/vault/vault.ts'
import { keep, syncDirectory } from './keep.ts'
import type { VaultSettings } from './vault.ts'

export interface KeyRing {
  /** The first one seals, all of them open. */
  keys(): readonly Buffer[]
  /** Reads them again where that can be done at once. False where nothing new is there. */
  reload(): boolean
  /** Where they come from, for people. */
  readonly source: string
  /** Why there are none, and what to do; null where there are. */
  readonly trouble: string | null
  /** Puts a new key before the others; null where they are not this process's to write. Not to be called twice at once. */
  readonly addKey: (() => Promise<void>) | null
}

/** In the data directory. */
const VAULT_KEYS = 'vault-keys'

/** What a command may take that asks a key management service. */
const COMMAND_MS = 30_000

/** Never throws: what has no need of the vault is not to fail with it. */
export async function loadKeyRing(config: VaultSettings): Promise<KeyRing> {
  const { AMBIENT_VAULT_KEY: text, AMBIENT_VAULT_KEY_COMMAND: command } = config
  if (text !== undefined) return fixedRing('AMBIENT_VAULT_KEY', () => Promise.resolve(text))
  if (command !== undefined) return fixedRing('what AMBIENT_VAULT_KEY_COMMAND prints', () => printed(command))
  return await fileRing(config.AMBIENT_VAULT_KEY_FILE ?? null, join(config.AMBIENT_DATA, VAULT_KEYS))
}

/** Read once, when the process starts. */
async function fixedRing(source: string, read: () => Promise<string>): Promise<KeyRing> {
  const { keys, trouble } = await read().then((text) => taken(source, text), told)
  return { source, keys: () => keys, reload: () => false, trouble, addKey: null }
}

async function fileRing(named: string | null, made: string): Promise<KeyRing> {
  const path = named ?? made
  const source = `the file ${path}`
  const read = () => taken(source, readFileSync(path, 'utf8'))
  // A file that somebody names is theirs to make: an empty one in its place would seal under a key that nobody backs up.
  const first = named === null ? keep(path, newKey).then(read) : Promise.resolve().then(read)
  let current = await first.catch(told)
  return {
    source,
    keys: () => current.keys,
    get trouble() {
      return current.trouble
    },
    reload() {
      try {
        const next = read()
        if (next.trouble !== null) return false
        current = next
        return true
      } catch {
        return false // What was read at the start goes on to count.
      }
    },
    async addKey() {
      const text = readFileSync(path, 'utf8')
      const draft = `${path}.${randomUUID()}`
      // On the disk before anything is sealed under it.
      await writeFile(draft, `${newKey()}\n${text}`, { mode: 0o600, flush: true })
      await rename(draft, path)
      await syncDirectory(dirname(path))
      current = read()
    },
  }
}

/** As `openssl rand -base64 32` makes them. */
export const newKey = (): string => randomBytes(32).toString('base64')

interface Taken {
  keys: readonly Buffer[]
  trouble: string | null
}

function taken(source: string, text: string): Taken {
  const keys = keyWords(text).map((word) => Buffer.from(word, isHexKey(word) ? 'hex' : 'base64'))
  if (keys.length === 0) return { keys: [], trouble: `there is no key in ${source}. Make one: openssl rand -base64 32` }
  if (keys.some((key) => key.length !== 32)) {
    const trouble = `${source} has a key that is not 32 bytes in base64 or hexadecimal. Make one: openssl rand -base64 32`
    return { keys: [], trouble }
  }
  return { keys, trouble: null }
}

const told = (error: unknown): Taken => ({ keys: [], trouble: error instanceof Error ? error.message : String(error) })

/** @throws {VaultError} without a word of what it printed, which may be a key. */
async function printed(command: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('/bin/sh', ['-c', command], { timeout: COMMAND_MS, encoding: 'utf8' })
    return stdout
  } catch (error) {
    const { code, killed } = error as { code?: unknown; killed?: boolean }
    const why = killed ? `did not end within ${COMMAND_MS / 1_000} s` : `ended with exit code ${String(code)}`
    throw new VaultError(`AMBIENT_VAULT_KEY_COMMAND ${why}. Run it by hand, mend it, and start this process again.`)
  }
}
