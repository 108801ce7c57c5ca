// A host's process with a sandbox in a network that was made ahead, and another such network that nobody has joined.
import Docker from 'dockerode'
import { pino } from 'pino'
import { createDockerHost } from './host.ts'

const [runsDirectory = '', image = '', first = '', second = ''] = process.argv.slice(2)
const docker = new Docker()
const host = await createDockerHost({
  ...{ runsDirectory, nodePath: process.execPath, image, log: pino({ level: 'silent' }) },
  ...{ limits: { memoryMb: 512, cpus: 2, pids: 256 }, spareNetworks: 1 },
})
const open = (runId: string) => host.open({ runId, generation: 1, image: null, toolkit: null })

const filters = { label: [`ambient.spare-of=${runsDirectory}`], status: ['running'] }
async function untilThereAre(count: number): Promise<void> {
  while ((await docker.listContainers({ filters })).length < count) await new Promise((next) => setTimeout(next, 50))
}

await open(first)
await untilThereAre(1)
await open(second)
await untilThereAre(2)
process.stdout.write('done\n')
// Lives on until it is killed.
setInterval(() => {}, 60_000)
