// Networks that are made ahead of the sandboxes that join them.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Docker from 'dockerode'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Host, Sandbox } from '../host.ts'
import { createRunDirectory } from '../run-directory.ts'
import { containerName, containerOptions } from './container.ts'
import { createDockerHost } from './host.ts'

const docker = new Docker()
const image = 'ambient-base:latest'
const limits = { memoryMb: 512, cpus: 2, pids: 256 }

let directory: string
let host: Host
const runs: string[] = []

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-spare-'))
  host = await hostOf(directory, 1)
})
afterEach(async () => {
  for (const runId of runs.splice(0)) await host.remove(runId)
})
afterAll(async () => {
  for (const id of await spares()) await docker.getContainer(id).remove({ force: true })
  await rm(directory, { recursive: true, force: true })
})

function hostOf(runsDirectory: string, spareNetworks: number): Promise<Host> {
  const log = pino({ level: 'silent' })
  return createDockerHost({ runsDirectory, nodePath: process.execPath, image, limits, log, spareNetworks })
}

async function open(): Promise<Sandbox> {
  const runId = randomUUID()
  runs.push(runId)
  return host.open({ runId, generation: 1, image: null, toolkit: null })
}

/** Those that are taken as well. */
async function spares(runsDirectory = directory): Promise<string[]> {
  const filters = { label: [`ambient.spare-of=${runsDirectory}`], status: ['running'] }
  return (await docker.listContainers({ filters })).map(({ Id }) => Id)
}

/** A first sandbox has one made for the next. @returns who holds it. */
async function oneAhead(): Promise<string> {
  await open()
  await expect.poll(() => spares()).toHaveLength(1)
  return (await spares())[0] ?? ''
}

const networkOf = async ({ runId }: Sandbox) =>
  (await docker.getContainer(containerName(runId, 1)).inspect()).HostConfig.NetworkMode

async function output(sandbox: Sandbox, script: string): Promise<string> {
  const job = await sandbox.job({ id: randomUUID(), command: ['/bin/sh', '-c', script], env: {}, cwd: '/' })
  const said: string[] = []
  for await (const lines of job.read(0, AbortSignal.timeout(60_000))) said.push(...lines.map(({ text }) => text))
  return said.join('\n')
}

test('a sandbox joins one: it has an address of its own there, and nothing of it stays after its end', async () => {
  const holder = await oneAhead()
  const sandbox = await open()
  expect(await networkOf(sandbox)).toBe(`container:${holder}`)

  const server = http.createServer((request, response) => response.end(request.socket.remoteAddress))
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  const gateway = `http://${host.loopback}:${(server.address() as AddressInfo).port}`
  await host.setGateway(gateway)
  const address = (await output(sandbox, `curl -s ${gateway}`)).replace('::ffff:', '')
  server.close()
  expect(await sandbox.callsFrom()).toEqual({ kind: 'address', address })
  const [first] = runs
  expect(await (await host.find(first ?? '', 1))?.callsFrom()).not.toMatchObject({ address })

  await host.remove(sandbox.runId)
  await expect(docker.getContainer(holder).inspect()).rejects.toThrow('404')
})

test('no two sandboxes join the same one', async () => {
  const holder = await oneAhead()
  const networks = await Promise.all((await Promise.all([open(), open()])).map(networkOf))
  expect(networks.toSorted()).toEqual(['ambient', `container:${holder}`])
})

test('one that has ended is not joined', async () => {
  await docker.getContainer(await oneAhead()).remove({ force: true })
  const sandbox = await open()
  expect(await networkOf(sandbox)).toBe('ambient')
  expect(await output(sandbox, 'echo well')).toBe('well')
})

test('a sandbox whose maker died before it started, and its network with it, is made again', async () => {
  const holder = await docker.createContainer({ Image: image, Entrypoint: ['/bin/sleep', '1000'] })
  const runId = randomUUID()
  runs.push(runId)
  const paths = await createRunDirectory(directory, runId, host.owner)
  const plan = {
    runId,
    generation: 1,
    image,
    toolkit: null,
    nodePath: process.execPath,
    paths,
    owner: host.owner,
    limits,
  }
  const network = `container:${holder.id}`
  const options = containerOptions({ ...plan, runtime: null, network, runsDirectory: directory })
  const { id } = await docker.createContainer(options)
  await holder.remove({ force: true })

  const sandbox = await host.open({ runId, generation: 1, image: null, toolkit: null })
  expect((await docker.getContainer(containerName(runId, 1)).inspect()).Id).not.toBe(id)
  expect(await output(sandbox, 'echo well')).toBe('well')
})

test('one that nobody has joined ends with its host’s process, and one that is joined does not', async () => {
  const others = join(directory, 'others')
  const [first, second] = [randomUUID(), randomUUID()]
  const program = join(import.meta.dirname, 'spare-networks.fixture.ts')
  const other = spawn(process.execPath, [program, others, image, first, second], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(other.stdout, 'data')
  expect(await spares(others)).toHaveLength(2)
  other.kill('SIGKILL')
  const after = await hostOf(others, 0)
  const sandbox = await after.find(second, 1)
  const network = await networkOf(sandbox as Sandbox)
  await expect.poll(() => spares(others)).toEqual([network?.replace('container:', '')])
  expect(await sandbox?.isRunning()).toBe(true)
  expect(await sandbox?.callsFrom()).toMatchObject({ address: expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/) })

  for (const runId of [first, second]) await after.remove(runId)
  expect(await spares(others)).toEqual([])
})
