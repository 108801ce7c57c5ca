import { expect, test } from 'vitest'
import { sealEnvironment } from '../../secrets/vault/inline.ts'
import { testVault } from '../../test/support/vault.ts'
import { openedEnvironment } from './given-secrets.ts'

const plain = { repos: [{ url: 'https://me:token@git.example/a.git' }], setup_commands: [], env: { TOKEN: 'a-value' } }

test('what is sealed comes back as it was, and without its key not at all, with the reason', () => {
  const vault = testVault()
  const sealed = sealEnvironment(vault, plain)
  expect(JSON.stringify(sealed)).not.toMatch(/a-value|me:token/)
  expect(openedEnvironment(vault, sealed)).toEqual({ environment: plain, trouble: {} })
  const { environment, trouble } = openedEnvironment(testVault(), sealed)
  expect(environment).toMatchObject({ env: { TOKEN: '***' }, repos: [{ url: 'https://git.example/a.git' }] })
  expect(trouble.secrets_trouble).toMatch(/sealed under the key .* which is not here/)
})

test('what was stored before there was a vault is read as it is', () => {
  expect(openedEnvironment(testVault(), plain)).toEqual({ environment: plain, trouble: {} })
})
