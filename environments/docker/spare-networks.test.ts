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
import { afterEach, beforeEach, expect, test } from 'vitest'
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

// Each has a host of its own: what another has made ahead is not to be counted.
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-spare-'))
  host = await hostOf(1)
})
afterEach(async () => {
  for (const runId of runs.splice(0)) await host.remove(runId)
  const label = [`ambient.spare-of=${directory}`]
  for (const { Id } of await docker.listContainers({ all: true, filters: { label } }))
    await docker.getContainer(Id).remove({ force: true })
  await rm(directory, { recursive: true, force: true })
})

function hostOf(spareNetworks: number, daemon = docker): Promise<Host> {
  const common = { nodePath: process.execPath, image, limits, log: pino({ level: 'silent' }), docker: daemon }
  return createDockerHost({ ...common, runsDirectory: directory, spareNetworks })
}

async function open(): Promise<Sandbox> {
  const runId = randomUUID()
  runs.push(runId)
  return host.open({ runId, generation: 1, image: null, toolkit: null })
}

/** Those that are taken as well. */
async function spares(): Promise<string[]> {
  const filters = { label: [`ambient.spare-of=${directory}`], status: ['running'] }
  return (await docker.listContainers({ filters })).map(({ Id }) => Id)
}

/** A first sandbox has one made for the next. @returns who holds it. */
async function oneAhead(): Promise<string> {
  await open()
  await expect.poll(() => spares()).toHaveLength(1)
  return (await spares())[0] ?? ''
}

/** By whom all containers are an hour older. */
const anHourLater = Object.create(docker, {
  listContainers: {
    value: async (options: object) =>
      (await docker.listContainers(options)).map((each) => ({ ...each, Created: each.Created - 3_600 })),
  },
}) as Docker

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
  const [first, second] = [randomUUID(), randomUUID()]
  const program = join(import.meta.dirname, 'spare-networks.fixture.ts')
  const other = spawn(process.execPath, [program, directory, image, first, second], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(other.stdout, 'data')
  expect(await spares()).toHaveLength(2)
  other.kill('SIGKILL')
  const sandbox = await host.find(second, 1)
  const network = await networkOf(sandbox as Sandbox)
  await expect.poll(() => spares()).toEqual([network?.replace('container:', '')])
  expect(await sandbox?.isRunning()).toBe(true)
  expect(await sandbox?.callsFrom()).toMatchObject({ address: expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/) })

  for (const runId of [first, second]) await host.remove(runId)
  expect(await spares()).toEqual([])
})

test('a sandbox whose network was taken from it counts as lost', async () => {
  const holder = await oneAhead()
  const sandbox = await open()
  expect(await sandbox.isRunning()).toBe(true)
  await docker.getContainer(holder).remove({ force: true })
  expect(await sandbox.isRunning()).toBe(false)
})

test('what is left over of them is removed, and never one that is taken or in use', async () => {
  const inUse = await oneAhead()
  await open()
  await expect.poll(() => spares()).toHaveLength(2)
  const [ready] = (await spares()).filter((id) => id !== inUse)
  const leave = (labels: object) =>
    docker.createContainer({ Image: image, Entrypoint: ['/bin/sleep', '1000'], Labels: { ...labels } })
  const own = { 'ambient.spare-of': directory }
  const [neverStarted, unused, others] = [await leave(own), await leave(own), await leave({ 'ambient.spare-of': '/x' })]
  for (const each of [unused, others]) await each.start()
  try {
    await hostOf(1)
    const isThere = () =>
      neverStarted.inspect().then(
        () => true,
        () => false,
      )
    await expect.poll(isThere).toBe(false)
    expect(await spares()).toContain(unused.id)

    await hostOf(1, anHourLater)
    await expect.poll(() => spares()).toEqual([inUse])
    // Another process of this host cannot know that it is ready; this one does without.
    expect(ready).toBeDefined()
    expect(await networkOf(await open())).toBe('ambient')
    expect((await others.inspect()).State.Running).toBe(true)
  } finally {
    await others.remove({ force: true })
  }
})

test('one that waits for long is there for whoever comes', async () => {
  host = await hostOf(1, anHourLater)
  const first = await oneAhead()
  expect(await networkOf(await open())).toBe(`container:${first}`)
  // What is left over was looked for before it was made.
  await expect.poll(() => spares()).toHaveLength(2)
  const [second] = (await spares()).filter((id) => id !== first)
  expect(await networkOf(await open())).toBe(`container:${second}`)
  await expect.poll(() => spares()).toHaveLength(3)
})
