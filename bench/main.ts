// `npm run bench`: what Ambient costs in time and memory, each figure beside its target and a baseline of the same run.
import { parseArgs } from 'node:util'
import { dockerAnswers } from '../environments/create-host.ts'
import { measureIdle } from './idle.ts'
import { measureLatency } from './latency.ts'
import { printLoad, printMachine } from './machine.ts'
import { heading } from './report.ts'
import { measureStream } from './stream.ts'

const usage = 'Usage: npm run bench -- [--only latency|stream|idle] [--samples 10]'

const { only, samples } = readArguments()
let cleanUp = new AsyncDisposableStack()
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    interrupted = true
    void cleanUp.disposeAsync().finally(() => process.exit(130))
  })
}

const measures: readonly [name: string, measure: (cleanUp: AsyncDisposableStack) => Promise<void>][] = [
  ['latency', (stack) => measureLatency('direct', samples, stack)],
  ['latency', (stack) => measureOnDocker(stack)],
  ['stream', measureStream],
  ['idle', measureIdle],
]

printMachine()
for (const [name, measure] of measures) {
  if (only !== undefined && only !== name) continue
  cleanUp = new AsyncDisposableStack()
  try {
    await measure(cleanUp)
  } catch (error) {
    // What it measured is being taken away; the process ends once that is done.
    if (interrupted) await new Promise(() => {})
    throw error
  } finally {
    await cleanUp.disposeAsync()
  }
  printLoad('after it')
}

async function measureOnDocker(stack: AsyncDisposableStack): Promise<void> {
  if (await dockerAnswers()) await measureLatency('docker', samples, stack)
  else heading('No Docker daemon answers: the docker host is not measured.')
}

function readArguments(): { only: string | undefined; samples: number } {
  const { values } = parseArgs({ options: { only: { type: 'string' }, samples: { type: 'string', default: '10' } } })
  const count = Number(values.samples)
  if (!['latency', 'stream', 'idle', undefined].includes(values.only) || !Number.isInteger(count) || count < 1) {
    process.stderr.write(`${usage}\n`)
    process.exit(2)
  }
  return { only: values.only, samples: count }
}
