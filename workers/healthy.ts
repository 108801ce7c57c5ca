// Whether the part that this container runs does its work: exit code 0 or 1, and why. The image's HEALTHCHECK.
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { loadConfig } from '../config.ts'
import { connectClient } from '../temporal.ts'
import { hostQueue, ORCHESTRATOR_QUEUE } from '../workflows/contract.ts'
import { hostId } from './keys.ts'

/** A poll takes a minute at most, so a worker that has not asked for longer hangs. That it does not answer tells it sooner. */
const POLLER_MS = 75_000
const ANSWER_MS = 5_000
/** As Temporal's API numbers the two kinds of task queue. */
const WORKFLOW_TASKS = 1
const ACTIVITY_TASKS = 2

const config = loadConfig()
// The part is a word of the container's first process, also where an init comes before it and options after it.
const words = readFileSync('/proc/1/cmdline', 'utf8').split('\0')
const part = words.find((word) => ['server', 'gateway', 'worker', 'host'].includes(word))

try {
  if (part === 'server') await server()
  else if (part === 'gateway') await answer(config.AMBIENT_GATEWAY_PORT, '/')
  else if (part === 'worker') await Promise.all([reacts(), polled(ORCHESTRATOR_QUEUE, WORKFLOW_TASKS)])
  else if (part === 'host') await Promise.all([reacts(), polled(hostQueue(await hostId(config)), ACTIVITY_TASKS)])
  else throw new Error(`the first process of this container is no part of Ambient (${part})`)
  // Questions to a name server may still be open, on a network where none answers.
  process.exit(0)
} catch (error) {
  process.stdout.write(`${part}: ${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
}

/** The server alone: whether a host or Temporal is there is not its fault, and /healthz tells it to whoever asks. */
async function server(): Promise<void> {
  const health = await answer(config.AMBIENT_PORT, '/healthz')
  const { checks } = (await health.json()) as { checks?: { database?: string } }
  if (checks?.database !== 'ok') throw new Error(`the database: ${checks?.database ?? 'not checked'}`)
}

function answer(port: number, path: string): Promise<Response> {
  return fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(ANSWER_MS) })
}

/** A process that hangs takes the connection to its metrics, and answers nothing. Where it serves none, its polls have to do. */
async function reacts(): Promise<void> {
  if (config.AMBIENT_METRICS_PORT === 0) return
  const everywhere = ['0.0.0.0', '::'].includes(config.AMBIENT_METRICS_BIND)
  const address = everywhere ? '127.0.0.1' : config.AMBIENT_METRICS_BIND
  const place = `http://${address.includes(':') ? `[${address}]` : address}:${config.AMBIENT_METRICS_PORT}/metrics`
  try {
    await fetch(place, { signal: AbortSignal.timeout(ANSWER_MS) })
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError') throw new Error('it does not react')
  }
}

/** Temporal knows who has asked for work: a worker is called `<process>@<container>`. */
async function polled(taskQueue: string, taskQueueType: number): Promise<void> {
  const client = connectClient(config)
  const { pollers } = await client.connection.withDeadline(Date.now() + ANSWER_MS, () =>
    client.workflowService.describeTaskQueue({
      namespace: config.TEMPORAL_NAMESPACE,
      taskQueue: { name: taskQueue },
      taskQueueType,
    }),
  )
  await client.connection.close()
  const isMine = (pollers ?? []).some(
    ({ identity, lastAccessTime }) =>
      identity?.endsWith(`@${hostname()}`) && Date.now() - Number(lastAccessTime?.seconds ?? 0) * 1000 < POLLER_MS,
  )
  if (!isMine) throw new Error(`this container does not poll the task queue ${taskQueue}`)
}
