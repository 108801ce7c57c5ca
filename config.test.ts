import { expect, test } from 'vitest'
import { loadConfig, Settings, unknownSettings } from './config.ts'

const refusal = (env: Record<string, string>): string => {
  try {
    loadConfig(env)
    return 'accepted'
  } catch (error) {
    return (error as Error).message
  }
}

test.each([
  ['AMBIENT_PORT', 'eighty', 'must be a whole number from 0 to 65535.'],
  ['AMBIENT_CAPACITY', '0', 'must be a whole number from 1 to 1000.'],
  ['AMBIENT_CAPACITY', '1.5', 'must be a whole number from 1 to 1000.'],
  ['AMBIENT_PIDS', '-1', 'must be a whole number, 64 or more.'],
  ['AMBIENT_CPUS', 'many', 'must be a number, 0.1 or more.'],
  ['AMBIENT_HOST', 'podman', 'must be docker, direct or auto.'],
  ['AMBIENT_AGENT', 'claud', 'must be claude, codex, gemini, opencode, qwen or command.'],
  ['AMBIENT_ADMIN_KEY', 'short', 'must be at least 16 characters long.'],
  [
    'AMBIENT_VAULT_KEY',
    'not-to-be-told',
    'must be 32 bytes in base64 or hexadecimal, or several such keys. Make one: openssl rand -base64 32.',
  ],
  ['AMBIENT_POOL', 'a b', 'must be 1 to 100 letters, digits, dots, dashes or underscores.'],
  ['AMBIENT_URL', 'localhost:8420', 'must be a URL with http:// or https://.'],
  ['TEMPORAL_ADDRESS', 'localhost', 'must be host:port, such as 127.0.0.1:7233.'],
  ['DATABASE_URL', 'mysql://x', 'must be a URL such as postgres://user:password@host:5432/database.'],
])('%s=%s is refused with what it should be', (name, value, words) => {
  expect(refusal({ [name]: value })).toBe(
    `These settings do not fit:\n  ${name} ${words}\ndocs/settings.md has a table of all settings.`,
  )
})

test('all settings that do not fit are named at once, and no value is repeated', () => {
  const message = refusal({ AMBIENT_PORT: 'a-secret', AMBIENT_ADMIN_KEY: 'a-secret', AMBIENT_MODEL: '' })
  expect(message).toContain('AMBIENT_PORT')
  expect(message).toContain('AMBIENT_ADMIN_KEY')
  expect(message).not.toContain('a-secret')
})

test('no setting is explained in the words of the library that checks it', () => {
  for (const name of Object.keys(Settings.shape)) {
    expect(refusal({ [name]: ' \u0000' })).not.toMatch(/Invalid|expected|received|Too (big|small)/)
  }
})

test('a variable that looks like a setting and is none is told, with the one that may be meant', () => {
  const env = { AMBIENT_CAPCITY: '5', AMBIENT_PORT: '1', AMBIENT_TYPED: 'ambient', AMBIENT_QUUX: '1', PATH: '/bin' }
  expect(unknownSettings(env)).toEqual([
    { name: 'AMBIENT_CAPCITY', meant: 'AMBIENT_CAPACITY' },
    { name: 'AMBIENT_QUUX', meant: null },
  ])
})
