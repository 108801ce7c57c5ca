import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VaultError } from '../../domain/vault/vault.ts'
import { testVault } from '../../test/support/vault.ts'
import { createVault } from './vault.ts'

let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vault-'))
})
afterAll(() => rm(directory, { recursive: true }))

const fresh = () => join(directory, randomUUID())
const settings = (more: object) => ({ AMBIENT_DATA: fresh(), ...more }) as Parameters<typeof createVault>[0]

test('what is sealed opens under its own context alone, and twice the same value is sealed differently', () => {
  const vault = testVault()
  const [one, other] = [vault.seal('a value ✓', 'secret:1'), vault.seal('a value ✓', 'secret:1')]
  expect(vault.open(one, 'secret:1')).toBe('a value ✓')
  expect(one).not.toEqual(other)
  expect(one.toString('latin1')).not.toContain('a value')
  expect(() => vault.open(one, 'secret:2')).toThrow(VaultError)
})

test('a record that was changed anywhere does not open', () => {
  const vault = testVault()
  const sealed = vault.seal('a value', 'c')
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed)
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
    expect(() => vault.open(changed, 'c'), `byte ${at}`).toThrow(VaultError)
  }
})

test('a new key seals, the old one goes on to open, and may go once everything is brought under the new one', () => {
  const [older, newer] = [randomBytes(32), randomBytes(32)]
  const sealed = testVault([older]).seal('a value', 'c')
  const both = testVault([newer, older])
  expect(both.open(sealed, 'c')).toBe('a value')
  const next = both.rewrap(sealed)
  if (next === null) throw new Error('it was under the older key')
  expect(both.rewrap(next)).toBeNull()
  expect(testVault([newer]).open(next, 'c')).toBe('a value')
  expect(() => testVault([newer]).open(sealed, 'c')).toThrow(/sealed under the key [0-9a-f]{16}, which is not here/)
})

test('without settings the key is made once, in a file of mode 600, and found again', async () => {
  const given = settings({})
  const [one, other] = await Promise.all([createVault(given), createVault(given)])
  const sealed = one.seal('a value', 'c')
  expect(other.open(sealed, 'c')).toBe('a value')
  expect((await stat(join(given.AMBIENT_DATA, 'vault-keys'))).mode & 0o777).toBe(0o600)
})

test('a process hears of a key that another one has added to the file', async () => {
  const given = settings({})
  const [server, gateway] = [await createVault(given), await createVault(given)]
  await server.ring.addKey?.()
  const sealed = server.seal('a value', 'c')
  expect(gateway.open(sealed, 'c')).toBe('a value')
  expect(gateway.keys()).toEqual(server.keys())
  expect((await stat(join(given.AMBIENT_DATA, 'vault-keys'))).mode & 0o777).toBe(0o600)
})

test('a command prints the keys, and is run once', async () => {
  const [keys, runs] = [fresh(), fresh()]
  await writeFile(
    keys,
    `# the newest first\n${randomBytes(32).toString('hex')}\n${randomBytes(32).toString('base64')}\n`,
  )
  const vault = await createVault(settings({ AMBIENT_VAULT_KEY_COMMAND: `echo run >>'${runs}'; cat '${keys}'` }))
  expect(vault.open(vault.seal('v', 'c'), 'c')).toBe('v')
  expect(vault.keys()).toHaveLength(2)
  expect(await readFile(runs, 'utf8')).toBe('run\n')
})

test.each([
  [
    'a command that fails',
    { AMBIENT_VAULT_KEY_COMMAND: 'echo not-to-be-told; exit 3' },
    /COMMAND ended with exit code 3/,
  ],
  ['a file that is not there', { AMBIENT_VAULT_KEY_FILE: '/nowhere/keys' }, /\/nowhere\/keys/],
  ['a key that is none', { AMBIENT_VAULT_KEY: 'not-to-be-told' }, /not 32 bytes.*openssl rand/],
])('with %s the process starts, and says what is wrong where a value is needed', async (_, given, told) => {
  const vault = await createVault(settings(given))
  expect(() => vault.seal('v', 'c')).toThrow(told)
  expect(vault.ring.trouble).not.toContain('not-to-be-told')
})
