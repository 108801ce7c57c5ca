// Runs that were begun by former versions of the workflow go on with this one: their recorded histories replay.
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker'
import { beforeAll, describe, expect, test } from 'vitest'
import { TRACING_MODULE } from '../telemetry/tracing.ts'
import { testBundle } from '../test/support/workflow-bundle.ts'

const directory = fileURLToPath(new URL('../test/replay/histories/', import.meta.url))
const names = (await readdir(directory)).filter((name) => name.endsWith('.json'))

/** By what each is replayed; a slot's workflow goes by its id. */
const ids = new Map<string, string>()

async function* histories() {
  for (const name of names) {
    const history = JSON.parse(await readFile(`${directory}${name}`, 'utf8'))
    const former: string | undefined = history.events[0].workflowExecutionStartedEventAttributes.workflowId
    const workflowId = former?.startsWith('schedule-') ? former : name
    ids.set(name, workflowId)
    yield { workflowId, history }
  }
}

// An operator may begin to make traces, or cease to, while runs are in flight.
describe.each([
  ['without traces', []],
  ['with traces', [TRACING_MODULE]],
])('a recorded history, %s,', (_, interceptors) => {
  /** By id; undefined for one that replayed. */
  const errors = new Map<string, Error | undefined>()

  beforeAll(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR') })
    // What a traced workflow says of itself goes nowhere here.
    const sinks = { exporter: { export: { fn: () => {} } } }
    const options = { workflowBundle: await testBundle(interceptors), sinks }
    // By one worker: making it takes longer than the replay.
    for await (const { workflowId, error } of Worker.runReplayHistories(options, histories()))
      errors.set(workflowId, error)
  })

  test('is there for every way a run can go', () => {
    expect(names.length).toBeGreaterThanOrEqual(8)
  })

  test.each(names)('%s replays', (name) => {
    const id = ids.get(name) ?? name
    expect(errors.has(id)).toBe(true)
    const error = errors.get(id)
    if (error) throw error
  })
})
