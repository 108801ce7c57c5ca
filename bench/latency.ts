// From a request for a run to the agent having its prompt, beside the same agent started by hand.
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import Docker from 'dockerode'
import { codex } from '../agents/codex.ts'
import { installAgent } from '../agents/install.ts'
import { AGENT_CACHE } from '../test/support/caches.ts'
import { script } from '../test/support/model-server.ts'
import { sampleRepository } from '../test/support/repository.ts'
import type { Stack } from '../test/support/stack.ts'
import { startAmbient } from './ambient.ts'
import { type BareAgent, promptAgent, startBareProcess } from './bare-agent.ts'
import { relayForContainers, startBareContainer } from './bare-container.ts'
import { format, heading, median, print, quantile, spread } from './report.ts'

/** What Ambient may add to a bare process, in milliseconds; and by how much it may exceed a bare container. */
const TARGET_MORE_MS = 150
const TARGET_RATIO = 1.25
const PROMPT_MS = 60_000

/** One way to an agent with a prompt, in milliseconds. */
type Way = (prompt: string, arrived: () => Promise<unknown>) => Promise<number>

export async function measureLatency(
  host: 'direct' | 'docker',
  samples: number,
  cleanUp: AsyncDisposableStack,
): Promise<void> {
  const repository = await sampleRepository()
  cleanUp.defer(repository.remove)
  const toolkit = await installAgent(codex, { directory: AGENT_CACHE })
  const stack = await startAmbient(host, cleanUp)

  const ways = {
    bare: bareWay(await bareStarter(host, stack, toolkit, cleanUp)),
    ambient: ambientWay(stack, []),
    withRepository: ambientWay(stack, [{ url: repository.url }]),
  }
  const times: Record<keyof typeof ways, number[]> = { bare: [], ambient: [], withRepository: [] }
  // In turn, so that what else the machine does falls on all alike. The first round warms up and is not counted.
  for (let round = 0; round <= samples; round++) {
    for (const name of ['bare', 'ambient', 'withRepository'] as const) {
      const time = await sample(stack, ways[name])
      if (round > 0) times[name].push(time)
    }
  }
  show(host, times)
}

/** What starts the agent alone, on the same machine and with the same model. */
async function bareStarter(
  host: Stack['hostKind'],
  stack: Stack,
  toolkit: string,
  cleanUp: AsyncDisposableStack,
): Promise<() => Promise<BareAgent>> {
  const modelUrl = `${stack.model.url}/v1`
  const options = { agent: codex, toolkit, modelUrl, directory: join(stack.data, 'bare') }
  if (host === 'direct') return () => startBareProcess(options)
  const docker = new Docker()
  const relay = await relayForContainers(docker, new URL(modelUrl))
  cleanUp.defer(relay.close)
  return () => startBareContainer({ ...options, modelUrl: relay.url }, docker)
}

function bareWay(start: () => Promise<BareAgent>): Way {
  return async (prompt, arrived) => {
    const agent = await start()
    try {
      await promptAgent(agent, prompt)
      await arrived()
      return performance.now() - agent.began
    } finally {
      await agent.end()
    }
  }
}

function ambientWay(stack: Stack, repos: { url: string }[]): Way {
  return async (prompt, arrived) => {
    const began = performance.now()
    const runId = await stack.start({
      prompt,
      config: { harness: { type: 'codex' }, permission_policy: 'allow', idle_timeout_minutes: 0 },
      environment: { repos },
    })
    await arrived()
    const time = performance.now() - began
    await stack.until(runId, 'SUCCEEDED')
    return time
  }
}

/** The prompt has arrived when the agent asks its model about it. */
function sample({ model }: Stack, way: Way): Promise<number> {
  const id = randomUUID()
  return way(script(id, [{ text: 'Done.' }]), () => model.waitForRequest(({ scriptId }) => scriptId === id, PROMPT_MS))
}

function show(host: Stack['hostKind'], times: Record<'bare' | 'ambient' | 'withRepository', number[]>): void {
  const isDirect = host === 'direct'
  const bareName = isDirect ? 'the agent as a bare process' : 'the agent in a bare container (docker run)'
  heading(`POST /agent/runs to the agent (Codex) asking its model, ${host} host`)
  const line = (name: string, values: number[]) =>
    print({ name, value: median(values), unit: 'ms', target: null, note: spread(values) })
  line(`baseline: ${bareName}`, times.bare)
  line('a run of Ambient', times.ambient)
  line('a run with one small repository', times.withRepository)

  const more = (q: number) => quantile(times.ambient, q) - quantile(times.bare, q)
  const ratio = (q: number) => quantile(times.ambient, q) / quantile(times.bare, q)
  const target = isDirect ? { more: TARGET_MORE_MS, ratio: null } : { more: null, ratio: TARGET_RATIO }
  // The quicker samples had more of the machine to themselves.
  const quick = (value: number) => `of the lower quartiles: ${format(value)}`
  print({
    name: 'Ambient more than the baseline',
    value: more(0.5),
    unit: 'ms',
    target: target.more,
    note: quick(more(0.25)),
  })
  print({
    name: 'Ambient over the baseline',
    value: ratio(0.5),
    unit: '×',
    target: target.ratio,
    note: quick(ratio(0.25)),
  })
}
