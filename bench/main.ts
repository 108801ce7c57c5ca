// `npm run bench`: what Ambient costs in time and memory, each figure beside its target and a baseline of the same run.
import { parseArgs } from 'node:util'
import { dockerAnswers } from '../environments/create-host.ts'
import { measureBurst } from './burst.ts'
import { measureCancel } from './cancel.ts'
import { measureCheckpoint } from './checkpoint.ts'
import { measureGateway } from './gateway.ts'
import { measureIdle } from './idle.ts'
import { measureLatency } from './latency.ts'
import { measureLists } from './lists.ts'
import { printLoad, printMachine } from './machine.ts'
import { measurePrepared } from './prepared.ts'
import { measureRecovery } from './recovery.ts'
import { heading } from './report.ts'
import { measureStream } from './stream.ts'
import { measureThroughput } from './throughput.ts'
import { measureTranscript } from './transcript.ts'

const names = [
  'latency',
  'stream',
  'idle',
  'throughput',
  'burst',
  'recovery',
  'cancel',
  'transcript',
  'prepared',
  'checkpoint',
  'lists',
  'gateway',
] as const
type Name = (typeof names)[number]
type Measure = (cleanUp: AsyncDisposableStack) => Promise<void>

const usage = `Usage: npm run bench -- [--only ${names.join('|')}] [--samples 10]`

const { only, samples } = readArguments()
let cleanUp = new AsyncDisposableStack()
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    interrupted = true
    void cleanUp.disposeAsync().finally(() => process.exit(130))
  })
}

const measures: readonly [name: Name, measure: Measure][] = [
  ['latency', (stack) => measureLatency('direct', samples, stack)],
  ['latency', onDocker((stack) => measureLatency('docker', samples, stack))],
  ['stream', measureStream],
  ['idle', measureIdle],
  ['throughput', measureThroughput],
  ['burst', measureBurst],
  ['recovery', (stack) => measureRecovery('direct', stack)],
  ['recovery', onDocker((stack) => measureRecovery('docker', stack))],
  ['cancel', (stack) => measureCancel('direct', stack)],
  ['cancel', onDocker((stack) => measureCancel('docker', stack))],
  ['transcript', measureTranscript],
  ['prepared', onDocker((stack) => measurePrepared(samples, stack))],
  ['checkpoint', (stack) => measureCheckpoint('direct', samples, stack)],
  ['checkpoint', onDocker((stack) => measureCheckpoint('docker', samples, stack))],
  ['lists', (stack) => measureLists(stack)],
  ['gateway', measureGateway],
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
    // Said before anything is taken away: what goes wrong with that must not stand in its place.
    process.stderr.write(`${name}: ${error instanceof Error ? error.stack : error}\n`)
    process.exitCode = 1
  } finally {
    await cleanUp.disposeAsync()
  }
  if (process.exitCode === 1) break
  printLoad('after it')
}

function onDocker(measure: Measure): Measure {
  return async (stack) => {
    if (await dockerAnswers()) await measure(stack)
    else heading('No Docker daemon answers: the docker host is not measured.')
  }
}

function readArguments(): { only: string | undefined; samples: number } {
  const { values } = parseArgs({ options: { only: { type: 'string' }, samples: { type: 'string', default: '10' } } })
  const count = Number(values.samples)
  if (
    (values.only !== undefined && !names.some((name) => name === values.only)) ||
    !Number.isInteger(count) ||
    count < 1
  ) {
    process.stderr.write(`${usage}\n`)
    process.exit(2)
  }
  return { only: values.only, samples: count }
}
