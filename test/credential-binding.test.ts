// A run's credential for models, tried from inside of its sandbox and from everywhere else: real sandboxes, a real gateway.
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bindingOf } from '../activities/host/binding.ts'
import type { CredentialBinding } from '../domain/host-api.ts'
import { createDirectHost } from '../environments/direct/host.ts'
import { createDockerHost } from '../environments/docker/host.ts'
import type { Host, Sandbox } from '../environments/host.ts'
import { createGateway, type Gateway } from '../secrets/gateway/gateway.ts'
import { leftovers } from './support/leftovers.ts'

const log = pino({ level: 'silent' })
const TOKEN = 'run-credential'

/** Calls a model, and prints the status of the answer. */
const CALL = `
const url = new URL(process.argv[1])
const headers = { 'x-api-key': '${TOKEN}', 'x-ambient-pass': 'made up' }
require('http').request(url, { method: 'POST', headers }, (r) => { console.log('status ' + r.statusCode); r.resume() })
  .on('error', (e) => console.log('error ' + e.message)).end('{"model":"m"}')`

let directory: string
let upstream: http.Server
let gateway: Gateway
let port: number
let binding: CredentialBinding | null
let clock = 0

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-binding-'))
  upstream = http.createServer((request, response) => request.resume().on('end', () => response.end('{}')))
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  const target = { baseUrl: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`, apiKey: 'real' }
  gateway = createGateway({
    authorize: async () => ({ runId: randomUUID(), execution: 1, team: 'default', binding }),
    route: async () => ({ target, priced: true }),
    log: { warn: () => {} },
    // Each call asks anew: the test changes what the credential is bound to.
    now: () => (clock += 60_000),
  })
  port = await gateway.listen(0, '127.0.0.1')
})
afterAll(async () => {
  await gateway?.close(0)
  upstream?.close()
  await rm(directory, { recursive: true, force: true })
})

async function called(host: Host, sandbox: Sandbox, url: string): Promise<string> {
  const { node } = host.paths(sandbox.runId, null)
  const journal = await sandbox.job({
    id: randomUUID(),
    command: [node, '-e', CALL, `${url}/anthropic/v1/messages`],
    env: {},
    cwd: '/',
  })
  const lines: string[] = []
  for await (const page of journal.read(0, AbortSignal.timeout(60_000))) lines.push(...page.map(({ text }) => text))
  return lines.join('\n')
}

const kinds = [
  ['containers', 'docker', null],
  ['containers with a list of hosts', 'docker', []],
  ['processes', 'direct', null],
] as const

describe.each(kinds)('sandboxes that are %s', (name, kind, allow) => {
  let host: Host
  const runs: string[] = []

  beforeAll(async () => {
    const runsDirectory = join(directory, name.replaceAll(' ', '-'))
    const common = { runsDirectory, nodePath: process.execPath, log, path: process.env.PATH }
    const limits = { memoryMb: 512, cpus: 1, pids: 128 }
    host =
      kind === 'docker'
        ? await createDockerHost({ ...common, image: 'ambient-base:latest', limits })
        : await createDirectHost(common)
    if (host.loopback !== '127.0.0.1') port = await gateway.listen(port, host.loopback).catch(() => port)
    await host.setGateway(`http://${host.loopback}:${port}`)
  })
  afterAll(async () => {
    for (const runId of runs) await host.remove(runId)
    expect(await leftovers(...runs)).toEqual([])
  })

  async function open(): Promise<Sandbox> {
    const runId = randomUUID()
    runs.push(runId)
    return host.open({ runId, generation: 1, image: null, toolkit: null, ...(allow && { egress: { allow } }) })
  }

  test('a credential is good in its own sandbox, in no other one, and not on the machine', async () => {
    const [own, other] = [await open(), await open()]
    const urlOf = (sandbox: Sandbox) => sandbox.gateway ?? `http://${host.loopback}:${port}`
    binding = null
    expect(await called(host, other, urlOf(other))).toContain('status 200')
    binding = await bindingOf(own, `http://${host.loopback}:${port}`)
    expect(binding.kind).toBe(allow ? 'pass' : kind === 'docker' ? 'address' : 'namespace')
    expect(await called(host, own, urlOf(own))).toContain('status 200')
    expect(await called(host, other, urlOf(other))).toContain('status 403')
    const outside = await fetch(`http://${host.loopback}:${port}/anthropic/v1/messages`, {
      method: 'POST',
      headers: { 'x-api-key': TOKEN },
      body: '{"model":"m"}',
    })
    expect(outside.status).toBe(403)
    expect(await outside.json()).toMatchObject({ error: { type: 'permission_error' } })
  })
})
