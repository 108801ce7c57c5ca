import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ambient } from '../../cli/testing/command.ts'
import { loadConfig } from '../../config.ts'
import { secretContext } from '../../store/secrets/secrets.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { testVault } from '../../test/support/vault.ts'
import { greeting, troubleWithVault } from './greeting.ts'

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api?.close())

test('the start and `ambient vault` say how many values cannot be opened with the keys given, and nothing where all can', async () => {
  const config = loadConfig({ AMBIENT_PORT: new URL(api.url).port, AMBIENT_ADMIN_KEY: api.key })
  const { body: secret } = await api.call('POST', '/agent/secrets', { name: 'LOCKED', value: 'value-locked' })
  expect(await troubleWithVault(config)).toBeNull()

  const former = testVault([randomBytes(32)])
  await api.db
    .updateTable('secrets')
    .set({ sealed: former.seal('value-locked', secretContext(secret.uid)) })
    .execute()
  const words = `1 stored value cannot be opened with the keys given: it is sealed under ${former.keys()[0]} (1).`
  expect(await troubleWithVault(config)).toContain(`  Secrets     ${words}`)
  const shown = await ambient(['vault'], { url: api.url, env: { AMBIENT_API_KEY: api.key } })
  expect(shown).toMatchObject({ code: 1, stdout: expect.stringContaining(`! ${words}`) })
})

test('the greeting names the settings without which another terminal would look for another server', () => {
  const greeted = (env: Record<string, string>) =>
    greeting(
      {
        config: loadConfig(env),
        hostKind: { kind: 'direct' },
        agent: { title: 'Codex', demo: true, problem: null },
        temporalUi: null,
        failed: new Promise(() => {}),
      },
      1_000,
    )
  expect(greeted({})).toContain('In another terminal:\n')
  const own = { AMBIENT_DATA: '/srv/ambient', AMBIENT_PORT: '9000' }
  expect(greeted(own)).toContain('In another terminal, with AMBIENT_DATA=/srv/ambient and AMBIENT_PORT=9000 set:\n')
})
