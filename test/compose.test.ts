import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { loadConfig, root, Settings } from '../config.ts'
import { parts } from '../workers/start/parts.ts'

const Service = z.object({
  image: z.string(),
  command: z.array(z.string()).optional(),
  restart: z.string(),
  environment: z.record(z.string(), z.string()).optional(),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  secrets: z.array(z.string()).default([]),
  networks: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  healthcheck: z.object({ test: z.array(z.string()) }).optional(),
  deploy: z.object({ resources: z.object({ limits: z.object({ memory: z.string(), cpus: z.string() }) }) }).optional(),
})
type Service = z.infer<typeof Service>
const Compose = z.object({
  services: z.record(z.string(), Service),
  networks: z.record(z.string(), z.unknown()),
  volumes: z.record(z.string(), z.unknown()),
  secrets: z.record(z.string(), z.object({ file: z.string() })),
})

const composeText = readFileSync(join(root, 'docker-compose.yml'), 'utf8')
const exampleText = readFileSync(join(root, '.env.example'), 'utf8')
const { services, networks, volumes, secrets } = Compose.parse(parse(composeText, { merge: true }))

/** `${NAME}`, `${NAME:-default}` and `${NAME:?}`, which is all that the file uses. */
const reference = /\$\{(\w+)(?::(?:-([^}]*)|\?))?\}/g
const example = Object.fromEntries(
  exampleText.split('\n').flatMap((line) => {
    const [, name, value] = /^(\w+)=(.*)$/.exec(line) ?? []
    return name === undefined ? [] : [[name, value ?? '']]
  }),
)
const filledIn = {
  ...example,
  AMBIENT_ADMIN_KEY: 'an-admin-key-for-this-test',
  AMBIENT_WORKER_KEY: 'a-worker-key-for-this-test',
  POSTGRES_PASSWORD: 'a',
  AMBIENT_DATABASE_PASSWORD: 'b',
  TEMPORAL_DATABASE_PASSWORD: 'c',
  DOCKER_GROUP: '999',
}
const interpolate = (text: string, values: Record<string, string>) =>
  text.replace(reference, (_, name: string, fallback?: string) => values[name] || fallback || '')

const service = (name: string): Service => {
  const found = services[name]
  if (!found) throw new Error(`no service ${name}`)
  return found
}
const endsAtOnce = (name: string) =>
  Object.values(services).some(({ depends_on }) => depends_on[name]?.condition === 'service_completed_successfully')
const lasting = Object.keys(services).filter((name) => !endsAtOnce(name))

test('.env.example has every variable that the compose file asks for, with words about it, and no other', () => {
  const used = [...composeText.matchAll(reference)].map(([, name]) => name)
  expect(Object.keys(example).sort()).toEqual([...new Set(used)].sort())
  const paragraphs = exampleText.split(/\n(?=#)/)
  const unexplained = Object.keys(example).filter(
    (name) => !paragraphs.some((text) => text.startsWith('#') && new RegExp(`^${name}=`, 'm').test(text)),
  )
  expect(unexplained).toEqual([])
})

test('.env.example has each variable once: the last one would count, and empty as it is', () => {
  const names = exampleText.split('\n').flatMap((line) => /^(\w+)=/.exec(line)?.[1] ?? [])
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([])
})

/** Settings that the file gives to no service, each with why. */
const notPassed: Partial<Record<keyof typeof Settings.shape, string>> = {
  AMBIENT_HOST_ID: 'kept in the data directory, which is the machine’s',
  AMBIENT_API_KEY: 'of whoever uses the command line',
  AMBIENT_TEAM: 'of whoever uses the command line',
  AMBIENT_METRICS_PORT: 'each container has an address of its own',
  OTEL_SERVICE_NAME: 'each service has the name of its own that it takes by itself',
  AMBIENT_DIRECT_SANDBOX: 'the host makes containers',
  AMBIENT_OIDC_CLIENT_SECRET_FILE: 'a file that an override mounts',
  AMBIENT_GITHUB_TOKEN_FILE: 'a file that an override mounts',
  AMBIENT_GITLAB_TOKEN_FILE: 'a file that an override mounts',
  AMBIENT_VAULT_KEY: 'a mounted file has it',
  AMBIENT_VAULT_KEY_COMMAND: 'a mounted file has the key',
  AMBIENT_POSTGRES_PORT: 'the embedded one’s',
  AMBIENT_TEMPORAL_PORT: 'the embedded one’s',
  AMBIENT_TEMPORAL_UI_PORT: 'the embedded one’s',
}

test('every setting can be set for a team’s server, but for those that have a reason', () => {
  const passed = new Set(parts.flatMap((part) => Object.keys(service(part).environment ?? {})))
  const missing = Object.keys(Settings.shape).filter((name) => !passed.has(name))
  expect(missing.sort()).toEqual(Object.keys(notPassed).sort())
})

test('what several processes go by, each of them is told alike', () => {
  const readers = {
    // Who puts a run or a build on a host's queue says when the host counts as lost.
    AMBIENT_HOST_LOST_SECONDS: ['server', 'worker'],
    // A run that names no pool is the server's to place, where the host takes it.
    AMBIENT_POOL: ['server', 'host'],
    OTEL_EXPORTER_OTLP_PROTOCOL: ['server', 'worker', 'host'],
  }
  for (const [name, expected] of Object.entries(readers))
    expect([name, parts.filter((part) => service(part).environment?.[name] === `\${${name}:-}`).sort()]).toEqual([
      name,
      expected.sort(),
    ])
})

test('a variable has the same default wherever it is used, and .env.example shows it', () => {
  for (const [, name = '', fallback] of composeText.matchAll(reference)) {
    if (fallback) expect([name, example[name]]).toEqual([name, fallback])
  }
})

test('the keys are asked for: nothing starts without them', () => {
  for (const name of ['AMBIENT_ADMIN_KEY', 'AMBIENT_WORKER_KEY', 'POSTGRES_PASSWORD', 'DOCKER_GROUP']) {
    expect(example[name]).toBe('')
    expect(composeText).toContain(`\${${name}:?}`)
    expect(composeText).not.toMatch(new RegExp(`\\$\\{${name}(:-[^}]*)?\\}`))
  }
})

test.each(parts)('the service %s is a command of the image, with settings that it accepts', (part) => {
  const { command, environment = {} } = service(part)
  expect(command).toEqual([part])
  const help = execFileSync(join(root, 'bin', 'ambient'), [part, '--help'], { encoding: 'utf8' })
  expect(help).toContain(`Usage: ambient ${part}`)
  const values = Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, interpolate(value, filledIn)]),
  )
  expect(Object.keys(values).filter((name) => !(name in Settings.shape))).toEqual([])
  expect(() => loadConfig(values)).not.toThrow()
})

test('each service of ours knows the secrets that it needs, and no others', () => {
  const known = (part: string) =>
    Object.keys(service(part).environment ?? {})
      .filter((name) => /_KEY$|_HEADERS$|^DATABASE_URL$/.test(name))
      .sort()
  const models = ['ANTHROPIC_API_KEY', 'DATABASE_URL', 'GEMINI_API_KEY', 'OPENAI_API_KEY']
  // What they tell about themselves is opened by one key, and sent with another.
  const [metrics, traces] = ['AMBIENT_METRICS_KEY', 'OTEL_EXPORTER_OTLP_HEADERS']
  const ofServer = ['AMBIENT_ADMIN_KEY', 'AMBIENT_LINK_KEY', 'AMBIENT_S3_SECRET_ACCESS_KEY', 'AMBIENT_WORKER_KEY']
  expect(Object.fromEntries(parts.map((part) => [part, known(part)]))).toEqual({
    server: [...ofServer, metrics, traces, ...models].sort(),
    gateway: [metrics, ...models].sort(),
    worker: ['DATABASE_URL', metrics, traces].sort(),
    // The path of a file that it alone reads.
    host: ['AMBIENT_GIT_SSH_KEY', 'AMBIENT_WORKER_KEY', metrics, traces].sort(),
  })
})

test('each secret can be a mounted file instead: by the image, or by a setting', () => {
  const entrypoint = readFileSync(join(root, 'deploy', 'entrypoint.sh'), 'utf8')
  const [, names = ''] = /^for name in ((?:.|\\\n)+?); do$/m.exec(entrypoint) ?? []
  const byImage = new Set(names.split(/[\s\\]+/))
  const secret = /(_KEY|_KEY_ID|_TOKEN|_SECRET|_HEADERS)$|^DATABASE_URL$/
  const all = parts.flatMap((part) => Object.keys(service(part).environment ?? {})).filter((name) => secret.test(name))
  expect(all).toContain('AMBIENT_S3_SECRET_ACCESS_KEY')
  // The path of a file already.
  const without = all.filter((name) => !byImage.has(name) && !(`${name}_FILE` in Settings.shape))
  expect([...new Set(without)]).toEqual(['AMBIENT_GIT_SSH_KEY'])
})

test('the key of the vault is a mounted file, for those who open what is sealed, and in nobody’s environment', () => {
  expect(composeText).not.toMatch(/AMBIENT_VAULT_KEY\b/)
  const readers = parts.filter((part) => service(part).secrets.includes('vault-key'))
  expect(readers.toSorted()).toEqual(['gateway', 'server', 'worker'])
  for (const part of parts)
    expect([part, service(part).environment?.AMBIENT_VAULT_KEY_FILE]).toEqual([
      part,
      readers.includes(part) ? '/run/secrets/vault-key' : undefined,
    ])
  expect(interpolate(secrets['vault-key']?.file ?? '', example)).toBe('./private/vault-key')
  for (const ignored of ['.gitignore', '.dockerignore'])
    expect(readFileSync(join(root, ignored), 'utf8').split('\n')).toContain('private/')
})

test('what lasts is started again, has its health checked, and is limited', () => {
  expect(lasting.sort()).toEqual([...parts, 'postgres', 'temporal', 'temporal-ui'].sort())
  for (const name of lasting) {
    const { restart, healthcheck, deploy } = service(name)
    expect([name, restart, healthcheck?.test.length ?? 0, deploy !== undefined]).toEqual([
      name,
      'unless-stopped',
      expect.toSatisfy((length: number) => length > 1),
      true,
    ])
  }
  // The image's own check, for those who start it by hand.
  const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')
  expect(dockerfile).toContain(`CMD ["${service('server').healthcheck?.test.slice(1).join('", "')}"]`)
})

test('waits only for services that are there, and for health only where it is checked', () => {
  for (const { depends_on } of Object.values(services)) {
    for (const [name, { condition }] of Object.entries(depends_on)) {
      if (condition === 'service_healthy') expect([name, service(name).healthcheck !== undefined]).toEqual([name, true])
      else expect([name, condition, lasting.includes(name)]).toEqual([name, 'service_completed_successfully', false])
    }
  }
})

test('as it comes, nothing listens on an address that other machines reach', () => {
  const published = Object.entries(services).flatMap(([name, { ports }]) =>
    ports.map((port) => `${name} ${interpolate(port, example)}`),
  )
  expect(published.sort()).toEqual([
    'gateway 172.31.84.1:8421:8421',
    'server 127.0.0.1:8420:8420',
    'temporal-ui 127.0.0.1:8424:8080',
  ])
})

test('sandboxes share their network with no service that lasts, and the host reaches no database', () => {
  const on = (network: string) => Object.keys(services).filter((name) => service(name).networks.includes(network))
  expect(on('sandboxes')).toEqual(['data-directory'])
  // Its published address is one of that network.
  expect(service('gateway').depends_on).toHaveProperty('data-directory')
  expect(on('database')).not.toContain('host')
  expect(networks).toMatchObject({ database: { internal: true }, control: { internal: true } })
  expect(networks.sandboxes).toMatchObject({
    name: 'ambient',
    driver_opts: { 'com.docker.network.bridge.enable_icc': 'false' },
  })
})

test('what has to reach others does so by a network whose packets are not filtered as those of sandboxes', () => {
  // Docker takes a container's way out, and what it publishes, from its one network that is not internal.
  const waysOut = (name: string) =>
    service(name).networks.filter(
      (network) => !z.looseObject({ internal: z.literal(true) }).safeParse(networks[network]).success,
    )
  for (const name of [...parts, 'temporal-ui']) expect([name, waysOut(name)]).toEqual([name, ['outside']])
  // Sandboxes come to the gateway by its address there, to which their credentials are bound: it outlives the network.
  expect(networks.outside).toMatchObject({ ipam: { config: [{ subnet: expect.stringContaining('/24') }] } })
})

test('docs/operations.md tells each service, and its networks', () => {
  const page = readFileSync(join(root, 'docs', 'operations.md'), 'utf8')
  const [, section = ''] = /^## What is on the machine\n(.+?)^## /ms.exec(page) ?? []
  const rows = [...section.matchAll(/^\| `([\w-]+)` +\|[^|]+\| ([a-z, ]+?) *\|$/gm)]
  const told = Object.fromEntries(rows.map(([, name = '', on = '']) => [name, on.split(', ').sort()]))
  expect(told).toEqual(
    Object.fromEntries(Object.entries(services).map(([name, { networks: on }]) => [name, on.toSorted()])),
  )
})

test('only the host gets the Docker socket, and finds its data under the same path as the machine', () => {
  const withSocket = Object.keys(services).filter((name) => service(name).volumes.join().includes('docker.sock'))
  expect(withSocket).toEqual(['host'])
  const [, data = ''] = service('host').volumes
  const [outside, inside] = interpolate(data, { AMBIENT_DATA: '/srv/ambient' }).split(':')
  expect([outside, inside]).toEqual(['/srv/ambient', '/srv/ambient'])
  expect(interpolate(service('host').environment?.AMBIENT_DATA ?? '', { AMBIENT_DATA: '/srv/ambient' })).toBe(outside)
})

test('every file and volume that is mounted is there', () => {
  for (const { volumes: mounts } of Object.values(services)) {
    for (const mount of mounts) {
      const source = mount.split(':')[0] ?? ''
      if (source.startsWith('./')) expect(statSync(join(root, source)).isFile()).toBe(true)
      else if (!source.startsWith('/') && !source.startsWith('$')) expect(volumes).toHaveProperty(source)
    }
  }
})

test('the scripts that containers start are programs of sh', () => {
  for (const name of readdirSync(join(root, 'deploy')).filter((file) => file.endsWith('.sh'))) {
    const path = join(root, 'deploy', name)
    execFileSync('sh', ['-n', path])
    expect([name, (statSync(path).mode & 0o111) !== 0]).toEqual([name, true])
  }
})
