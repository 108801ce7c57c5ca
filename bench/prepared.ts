// A start from a prepared environment, beside a cold one of the same, and beside the same agent in a bare container of an image with the same files.
import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Docker from 'dockerode'
import { codex } from '../agents/codex.ts'
import { installAgent } from '../agents/install.ts'
import type { EnvironmentItem } from '../domain/environment.ts'
import { isTerminal } from '../domain/state.ts'
import { AGENT_CACHE } from '../test/support/caches.ts'
import { script } from '../test/support/model-server.ts'
import type { Stack } from '../test/support/stack.ts'
import { startAmbient } from './ambient.ts'
import { promptAgent } from './bare-agent.ts'
import { imageWithFiles, relayForContainers, startBareContainer } from './bare-container.ts'
import { configuredRegistry, type LargeRepository, largeRepository, startOwnRegistry } from './large-repository.ts'
import { format, heading, median, print, quantile, spread } from './report.ts'

/** How many times faster than a cold start, and by how much it may exceed a bare container. */
const TARGET_TIMES = 50
const TARGET_RATIO = 1.25
/** A cold start takes a minute or more: of these few are enough. */
const COLD_SAMPLES = 2
const PROMPT_MS = 15 * 60_000
const BUILD_MS = 30 * 60_000

/** From nothing to the agent having its prompt, in milliseconds. */
type Way = (prompt: string, arrived: () => Promise<unknown>) => Promise<number>

export async function measurePrepared(samples: number, cleanUp: AsyncDisposableStack): Promise<void> {
  const docker = new Docker()
  const configured = await configuredRegistry()
  const own = await startOwnRegistry({ packages: configured === null })
  cleanUp.defer(own.close)
  const relayOfOwn = await relayForContainers(docker, new URL(own.url))
  cleanUp.defer(relayOfOwn.close)
  const repository = await largeRepository({ configured, own, ownUrl: relayOfOwn.url.replace(/\/$/, '') }, cleanUp)
  const toolkit = await installAgent(codex, { directory: AGENT_CACHE })
  // Containers reach the server of npm on this machine; and nothing is built but when it is asked for.
  const env = { AMBIENT_EGRESS: 'open', AMBIENT_PUSH_CHECK_MINUTES: '0', AMBIENT_DISK_GB: '50' }
  const stack = await startAmbient('docker', cleanUp, env)
  const from =
    configured === null ? 'made up by the bench: no registry was reached' : 'of the registry that npm is set to'
  heading(`A repository of ${repository.files} files with ${repository.packages} npm packages (${from}), docker host`)

  const environment = { repos: [{ url: repository.url, path: 'large' }], setup_commands: repository.setUp }
  const cold: Look[] = []
  for (let round = 0; round < COLD_SAMPLES; round++) cold.push(await look(stack, { environment }))
  lookLines('baseline: a cold start', cold)

  const began = performance.now()
  const id = await build(stack, environment)
  print({ name: 'its build', value: performance.now() - began, unit: 'ms', target: null })

  const relay = await relayForContainers(docker, new URL(`${stack.model.url}/v1`))
  cleanUp.defer(relay.close)
  const image = await imageWithFiles(docker, await builtWorkspace(stack))
  cleanUp.defer(() => docker.getImage(image).remove({ force: true }))
  const directory = join(stack.data, 'bare')
  const bareOptions = { agent: codex, toolkit, modelUrl: relay.url, directory, filled: { image, folder: 'large' } }
  const bare: Way = async (prompt, arrived) => {
    const agent = await startBareContainer(bareOptions, docker)
    try {
      await promptAgent(agent, prompt)
      await arrived()
      return performance.now() - agent.began
    } finally {
      await agent.end()
    }
  }
  const prepared = ambientWay(stack, { config: { environment_id: id } })
  const times = { bare: [] as number[], prepared: [] as number[] }
  // In turn, so that what else the machine does falls on both. The first round warms up and is not counted.
  for (let round = 0; round <= samples; round++) {
    for (const [name, way] of [
      ['bare', bare],
      ['prepared', prepared],
    ] as const) {
      const time = await sample(stack, way)
      if (round > 0) times[name].push(time)
    }
  }
  const looks: Look[] = []
  for (let round = 0; round < samples; round++) looks.push(await look(stack, { config: { environment_id: id } }))
  lookLines('the same from the prepared environment', looks)
  const faster = (what: keyof Look) => median(cold.map((each) => each[what])) / median(looks.map((each) => each[what]))
  const used = `until git and a package were used in it: ${format(faster('used'))}`
  print({
    ...{ name: 'prepared starts faster than cold', value: faster('started'), unit: '×' },
    ...{ target: { atLeast: TARGET_TIMES }, note: used },
  })
  line('baseline: an agent (Codex) in a bare container of the same files', times.bare)
  line('the same agent from the prepared environment', times.prepared)
  line('the same, with a commit to be fetched', await withPushes(stack, repository, prepared))
  const ratio = (q: number) => quantile(times.prepared, q) / quantile(times.bare, q)
  const ofQuartiles = `of the lower quartiles: ${format(ratio(0.25))}`
  print({ name: 'prepared over bare', value: ratio(0.5), unit: '×', target: TARGET_RATIO, note: ofQuartiles })
}

/** What a person would do first, to see whether an environment is whole. */
const LOOK = `echo started && git status --short && /opt/ambient/node -e '
  const { dependencies } = require("./package.json")
  require(dependencies.lodash ? "lodash" : Object.keys(dependencies)[0])
  console.log("whole")'`

/** From the request, in milliseconds. No agent's own start is in it. */
interface Look {
  /** To the first word of the program that was asked for: all files are there, set-up is done. */
  started: number
  /** To its word that the environment is whole: reading 50,000 files by git is in it. */
  used: number
}

async function look(stack: Stack, { config, ...body }: RunBody): Promise<Look> {
  const began = performance.now()
  const program = { harness: { type: 'command', command: ['sh', '-c', LOOK] }, idle_timeout_minutes: 0 }
  const runId = await stack.start({ prompt: 'Look', config: { ...program, ...config }, ...body })
  const said = async (word: string) => {
    await stack.untilEvent(runId, ({ kind, data }) => kind === 'output' && String(data.text).includes(word))
    return performance.now() - began
  }
  const [started, used] = await Promise.all([said('started'), said('whole')])
  await stack.until(runId, 'SUCCEEDED')
  return { started, used }
}

function lookLines(name: string, looks: readonly Look[]): void {
  line(
    `${name}, until its program runs`,
    looks.map(({ started }) => started),
  )
  line(
    `${name}, until git and a package were used in it`,
    looks.map(({ used }) => used),
  )
}

const line = (name: string, values: number[]) =>
  print({ name, value: median(values), unit: 'ms', target: null, note: spread(values) })

interface RunBody {
  config?: object
  environment?: object
}

function ambientWay(stack: Stack, { config, ...body }: RunBody): Way {
  return async (prompt, arrived) => {
    const began = performance.now()
    const agent = { harness: { type: 'codex' }, permission_policy: 'allow', idle_timeout_minutes: 0 }
    const runId = await stack.start({ prompt, config: { ...agent, ...config }, ...body })
    const over = new AbortController()
    await Promise.race([arrived(), ofFailure(stack, runId, over.signal)])
    over.abort()
    const time = performance.now() - began
    await stack.until(runId, 'SUCCEEDED')
    return time
  }
}

/** A run that fails before it comes to its agent would be waited for in vain. */
async function ofFailure({ item }: Stack, runId: string, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    await sleep(1_000)
    const { state, failure } = await item(runId)
    if (isTerminal(state) && !over.aborted) throw new Error(`the run ended as ${state}: ${JSON.stringify(failure)}`)
  }
}

/** The prompt has arrived when the agent asks its model about it. */
function sample({ model }: Stack, way: Way): Promise<number> {
  const id = randomUUID()
  return way(script(id, [{ text: 'Done.' }]), () => model.waitForRequest(({ scriptId }) => scriptId === id, PROMPT_MS))
}

async function withPushes(stack: Stack, repository: LargeRepository, way: Way): Promise<number[]> {
  const times: number[] = []
  for (let round = 0; round < 3; round++) {
    await repository.push()
    times.push(await sample(stack, way))
  }
  return times
}

/** @returns the environment's uid, once it is built. */
async function build({ call }: Stack, environment: object): Promise<string> {
  const path = '/api/v1/agent/environments'
  const made = await call<EnvironmentItem>('POST', path, { name: 'large', ...environment })
  if (made.status !== 201) throw new Error(`POST ${path}: ${made.status} ${JSON.stringify(made.body)}`)
  const late = AbortSignal.timeout(BUILD_MS)
  while (!late.aborted) {
    const { body } = await call<EnvironmentItem>('GET', `${path}/${made.body.uid}`)
    const [newest] = body.builds
    if (newest?.state === 'READY') return made.body.uid
    if (newest?.state === 'FAILED') throw new Error(`it could not be built: ${JSON.stringify(newest.failure)}`)
    await sleep(200)
  }
  throw new Error('it was not built in time')
}

async function builtWorkspace({ data }: Stack): Promise<string> {
  const snapshots = join(data, 'snapshots')
  const [snapshot] = (await readdir(snapshots)).filter((name) => !name.startsWith('.'))
  if (snapshot === undefined) throw new Error(`nothing was built in ${snapshots}`)
  return join(snapshots, snapshot, 'workspace')
}
