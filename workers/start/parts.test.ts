import { expect, test } from 'vitest'
import { loadConfig } from '../../config.ts'
import { localUrl, type Part, partEnvironment, parts, withoutSecrets } from './parts.ts'

const inherited = {
  PATH: '/usr/bin',
  HTTPS_PROXY: 'http://proxy:3128',
  AMBIENT_ADMIN_KEY: 'the-admin-key-of-this-test',
  AMBIENT_WORKER_KEY: 'the-worker-key-of-this-test',
  AMBIENT_API_KEY: 'the-key-of-the-command-line',
  ANTHROPIC_API_KEY: 'anthropic-key',
  OPENAI_API_KEY: 'openai-key',
  GEMINI_API_KEY: 'gemini-key',
  AMBIENT_VAULT_KEY: 'ab'.repeat(32),
  AMBIENT_METRICS_KEY: 'the-metrics-key-of-this-test',
  OTEL_EXPORTER_OTLP_HEADERS: 'authorization=the-key-of-a-collector',
  AMBIENT_GATEWAY_BIND: '10.1.2.3',
}
const config = loadConfig(inherited)
const surroundings = {
  databaseUrl: 'postgres://ambient:secret@127.0.0.1:8422/ambient',
  hostKind: 'docker',
  containerGateway: '172.18.0.1',
} as const
const environment = (part: Part) => partEnvironment(part, config, surroundings, inherited)

test('each part knows the secrets that it needs, and no others', () => {
  const known = (part: Part) =>
    Object.keys(environment(part))
      .filter((name) => /_KEY$|_HEADERS$|^DATABASE_URL$/.test(name))
      .sort()
  const [metrics, traces] = ['AMBIENT_METRICS_KEY', 'OTEL_EXPORTER_OTLP_HEADERS']
  const vault = 'AMBIENT_VAULT_KEY'
  expect(Object.fromEntries(parts.map((part) => [part, known(part)]))).toEqual({
    server: [
      'AMBIENT_ADMIN_KEY',
      metrics,
      vault,
      'AMBIENT_WORKER_KEY',
      'ANTHROPIC_API_KEY',
      'DATABASE_URL',
      'GEMINI_API_KEY',
      'OPENAI_API_KEY',
      traces,
    ].sort(),
    gateway: [metrics, vault, 'ANTHROPIC_API_KEY', 'DATABASE_URL', 'GEMINI_API_KEY', 'OPENAI_API_KEY'],
    worker: [metrics, vault, 'DATABASE_URL', traces],
    host: [metrics, 'AMBIENT_WORKER_KEY', traces],
  })
})

test('programs that are not ours know no secret at all', () => {
  expect(withoutSecrets(inherited)).toEqual({
    PATH: '/usr/bin',
    HTTPS_PROXY: 'http://proxy:3128',
    AMBIENT_GATEWAY_BIND: '10.1.2.3',
  })
})

test('the parts get what was found out, beside what was set', () => {
  expect(environment('gateway')).toMatchObject({
    PATH: '/usr/bin',
    HTTPS_PROXY: 'http://proxy:3128',
    AMBIENT_GATEWAY_BIND: '10.1.2.3,172.18.0.1',
    AMBIENT_HOST: 'docker',
    AMBIENT_TEMPORAL_PORT: '8423',
    DATABASE_URL: surroundings.databaseUrl,
  })
  expect(loadConfig(environment('gateway')).AMBIENT_DATA).toBe(config.AMBIENT_DATA)
})

test('each part serves its metrics at a port of its own, or none does', () => {
  const ports = (AMBIENT_METRICS_PORT: string) =>
    parts.map((part) => partEnvironment(part, loadConfig({ AMBIENT_METRICS_PORT }), surroundings, inherited))
  const of = (port: string) => ports(port).map((env) => env.AMBIENT_METRICS_PORT)
  expect(new Set(of('9000'))).toEqual(new Set(['9000', '9001', '9002', '9003']))
  expect(new Set(of('0'))).toEqual(new Set(['0']))
})

test.each([
  ['127.0.0.1', 'http://127.0.0.1:8420'],
  ['0.0.0.0', 'http://127.0.0.1:8420'],
  ['::', 'http://127.0.0.1:8420'],
  ['10.0.0.7', 'http://10.0.0.7:8420'],
  ['fd00::7', 'http://[fd00::7]:8420'],
])('a server bound to %s is found at %s', (AMBIENT_BIND, url) => {
  expect(localUrl(loadConfig({ AMBIENT_BIND }))).toBe(url)
})
