// A vault that has its keys in memory alone.
import { randomBytes } from 'node:crypto'
import { type KeyVault, vaultOf } from '../../secrets/vault/vault.ts'

export function testVault(keys: Buffer[] = [randomBytes(32)]): KeyVault {
  return vaultOf({
    source: 'this test',
    trouble: null,
    keys: () => keys,
    reload: () => false,
    async addKey() {
      keys.unshift(randomBytes(32))
    },
  })
}
