// Helper: sees whether containers can be used here, and prepares the network and the default image.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import Docker from 'dockerode'
import { egressPolicy, loadConfig, root, Settings } from '../../config.ts'
import { messageOf, statusOf } from '../../environments/docker/daemon.ts'
import { ensureImage } from '../../environments/docker/image.ts'
import { ensureNetwork, networkName } from '../../environments/docker/network.ts'
import { checkDaemon } from '../../environments/docker/requirements.ts'
import { helperMain, helperSay } from './helper.ts'
import type { DockerSetup } from './host-kind.ts'

const config = loadConfig()
const docker = new Docker()
await helperMain(setUp)

async function setUp(): Promise<DockerSetup> {
  try {
    await new Docker({ timeout: 3_000 }).ping()
  } catch (error) {
    return { daemon: false, reason: messageOf(error) }
  }
  await checkDaemon(docker, config.AMBIENT_DOCKER_RUNTIME, helperSay)
  const { gateway } = await ensureNetwork(docker, networkName(egressPolicy(config)))
  try {
    await image(config.AMBIENT_IMAGE)
    return { daemon: true, gateway, imageProblem: null }
  } catch (error) {
    return { daemon: true, gateway, imageProblem: error instanceof Error ? error.message : String(error) }
  }
}

async function image(name: string): Promise<void> {
  try {
    await docker.getImage(name).inspect()
  } catch (error) {
    if (statusOf(error) !== 404) throw error
    // The default is made here: a registry's image of that name would be someone else's.
    if (name === Settings.shape.AMBIENT_IMAGE.parse(undefined)) return makeBaseImage(name)
    helperSay(`fetching the image ${name}`)
    await ensureImage(docker, name)
  }
}

async function makeBaseImage(name: string): Promise<void> {
  const script = join(root, 'environments', 'base-image.sh')
  // A group of its own, so that all of its programs can be ended with it.
  const child = spawn('sh', [script, name], { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  process.once('SIGTERM', () => {
    if (child.pid) process.kill(-child.pid, 'SIGTERM')
    process.exit(1)
  })
  const errors: string[] = []
  createInterface(child.stdout).on('line', (line) => helperSay(line.replace(/^base-image: /, '')))
  createInterface(child.stderr).on('line', (line) => {
    errors.push(line.replace(/^base-image: /, ''))
    if (errors.length > 5) errors.shift()
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${name} could not be made (environments/base-image.sh): ${errors.join(' / ')}`)
}
