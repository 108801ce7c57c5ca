// Runs that were begun by former versions of the workflow go on with this one: their recorded histories replay.
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker'
import { beforeAll, describe, expect, test } from 'vitest'
import { TRACING_MODULE } from '../telemetry/tracing.ts'
import { historyName } from '../test/support/record-history.ts'
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

/** Tests of workflows without a history of their own, each with the reason. */
const notRecorded = new Map([
  [
    'begins later than its time by chance, and never by more than its jitter',
    'a slot that waits is recorded by another test; of these five each waits for another time',
  ],
])

/** Where a test begins, by its name. */
const TEST = /^ *test(?:\.each\(\[[\s\S]*?^ *\](?: as const)?\)|\.\w+\(.*\))?\(\s*(['"])(.+?)\1/gm

/** The names of all tests of workflows. */
async function testNames(): Promise<string[]> {
  const here = new URL('.', import.meta.url)
  const files = (await readdir(here)).filter((name) => name.endsWith('.test.ts') && name !== 'replay.test.ts')
  const sources = await Promise.all(files.map((name) => readFile(new URL(name, here), 'utf8')))
  return sources.flatMap((source) => {
    const found = Array.from(source.matchAll(TEST), ([, , name = '']) => name)
    // One that is written in another way is not to be overlooked.
    expect(found).toHaveLength(source.match(/^ *test\b/gm)?.length ?? 0)
    return found
  })
}

test('there is a history of every test of a workflow, but of those that say why not', async () => {
  const recorded = names.map((name) => name.replace(/^(\d{4}-\d{2}-\d{2}|v?\d+\.\d+\.\d+)-|\.json$/g, ''))
  const isRecorded = (name: string) => {
    // One with cases has a name for each.
    const [stem = '', ...cases] = name.split('%s')
    if (cases.length === 0) return recorded.includes(historyName(name))
    return recorded.some((file) => file.startsWith(historyName(stem)))
  }
  const missing = (await testNames()).filter((name) => !isRecorded(name))
  // RECORD_HISTORIES keeps them: test/support/record-history.ts.
  expect(missing.toSorted()).toEqual([...notRecorded.keys()].toSorted())
})

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

  test.each(names)('%s replays', (name) => {
    const id = ids.get(name) ?? name
    expect(errors.has(id)).toBe(true)
    const error = errors.get(id)
    if (error) throw error
  })
})
