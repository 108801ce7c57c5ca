// Runs that were begun by former versions of the workflow go on with this one: their recorded histories replay.
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import {
  bundleWorkflowCode,
  DefaultLogger,
  Runtime,
  Worker,
  type WorkflowBundleWithSourceMap,
} from '@temporalio/worker'
import { beforeAll, describe, expect, test } from 'vitest'
import { TRACING_MODULE } from '../telemetry/tracing.ts'

const directory = fileURLToPath(new URL('../test/replay/histories/', import.meta.url))
const names = (await readdir(directory)).filter((name) => name.endsWith('.json'))

// An operator may begin to make traces, or cease to, while runs are in flight.
describe.each([
  ['without traces', []],
  ['with traces', [TRACING_MODULE]],
])('a recorded history, %s,', (_, interceptors) => {
  let workflowBundle: WorkflowBundleWithSourceMap

  beforeAll(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR') })
    workflowBundle = await bundleWorkflowCode({
      workflowsPath: fileURLToPath(new URL('./index.ts', import.meta.url)),
      workflowInterceptorModules: interceptors.map((name) => fileURLToPath(import.meta.resolve(name))),
      logger: new DefaultLogger('ERROR'),
    })
  })

  test('is there for every way a run can go', () => {
    expect(names.length).toBeGreaterThanOrEqual(8)
  })

  test.each(names)('%s replays', async (name) => {
    const history = JSON.parse(await readFile(`${directory}${name}`, 'utf8'))
    // What a traced workflow says of itself goes nowhere here.
    const sinks = { exporter: { export: { fn: () => {} } } }
    await Worker.runReplayHistory({ workflowBundle, sinks }, history)
  })
})
