// The process that restricted sandboxes of one host reach the outside through. Outlives its host: what it needs to know
// of a sandbox is in files.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { openBlockedHosts } from './blocked.ts'
import { blockedFile, type Ports, type SandboxNote, type Settings, sandboxFile } from './files.ts'
import { createProxy } from './proxy.ts'
import { createRelay } from './relay.ts'

const [directory = ''] = process.argv.slice(2)
const settings = JSON.parse(await readFile(join(directory, 'settings.json'), 'utf8')) as Settings

/** More than one host has sandboxes at a time. */
const COUNTERS = 2_000
const counters = new Map<string, ReturnType<typeof openBlockedHosts>>()

/** Read for each connection: an address passes from one sandbox to another. */
async function noteAt(address: string): Promise<SandboxNote | null> {
  try {
    return JSON.parse(await readFile(sandboxFile(directory, address), 'utf8')) as SandboxNote
  } catch {
    return null // Nobody has the address.
  }
}

async function sandboxAt(address: string) {
  const note = await noteAt(address)
  if (note === null) return null
  const file = blockedFile(directory, note)
  const counter = await (counters.get(file) ?? counters.set(file, openBlockedHosts(file)).get(file))
  // Those of sandboxes that are long gone. One that is not goes on from its file.
  const [oldest] = counters.keys()
  if (counters.size > COUNTERS && oldest !== undefined) counters.delete(oldest)
  return { allow: note.allow, blocked: (host: string, port: number) => counter?.add(host, port) }
}

/** On the port that sandboxes were told, where there are any from before. */
async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, settings.address, resolve)
  })
  return (server.address() as AddressInfo).port
}

const portsFile = join(directory, 'ports.json')
const former = await readFile(portsFile, 'utf8').then(
  (text) => JSON.parse(text) as Ports,
  () => ({ proxy: 0, gateway: 0 }), // The first start.
)
await mkdir(join(directory, 'blocked'), { recursive: true })
const proxy = createProxy({ sandboxAt, ranges: settings.ranges })
const target = settings.gateway === null ? null : new URL(settings.gateway)
const relay = createRelay({ target, passOf: async (address) => (await noteAt(address))?.pass ?? null })
const ports: Ports = { proxy: await listen(proxy, former.proxy), gateway: await listen(relay, former.gateway) }
await writeFile(`${portsFile}.new`, JSON.stringify({ ...ports, ready: settings.version } satisfies Ports))
await rename(`${portsFile}.new`, portsFile)

// As the first process of a container it would else be deaf to it.
process.on('SIGTERM', () => process.exit(0))
