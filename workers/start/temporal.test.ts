import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Connection } from '@temporalio/client'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { temporalBinary } from '../../test/support/temporal.ts'
import { identify, isRunning } from './process-identity.ts'
import { type RunningTemporal, startTemporal } from './temporal.ts'

let directory: string
let running: RunningTemporal[]
let said: string[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ambient-temporal-'))
  running = []
  said = []
})
afterEach(async () => {
  await Promise.all(running.map((server) => server.stop()))
  rmSync(directory, { recursive: true, force: true })
})

async function start(program = temporalBinary()): Promise<RunningTemporal> {
  const server = await startTemporal({
    program,
    directory: join(directory, 'data'),
    port: 0,
    uiPort: 0,
    namespace: 'of-this-test',
    logFile: join(directory, 'log'),
    env: process.env,
    log: (line) => said.push(line),
  })
  running.push(server)
  return server
}

async function namespace({ address }: RunningTemporal) {
  const connection = await Connection.connect({ address })
  try {
    const { namespaceInfo, config } = await connection.workflowService.describeNamespace({ namespace: 'of-this-test' })
    return { id: namespaceInfo?.id, keepsDays: Number(config?.workflowExecutionRetentionTtl?.seconds) / 86_400 }
  } finally {
    await connection.close()
  }
}

test('the server answers with a namespace that keeps runs for a week, and finds its data after a restart', async () => {
  const first = await start()
  expect(statSync(join(directory, 'data')).mode & 0o777).toBe(0o700)
  const before = await namespace(first)
  expect(before.keepsDays).toBe(7)
  const ui = await fetch(first.uiUrl)
  expect(ui.status).toBe(200)
  await ui.body?.cancel()
  await first.stop()
  expect(identify(first.pid)).toBeNull()
  expect(await namespace(await start())).toEqual(before)
})

test('a server that nobody looks after any more is ended first', async () => {
  const left = await start()
  const identity = identify(left.pid) ?? expect.fail('it is not running')
  const before = await namespace(left)
  const next = await start()
  expect(isRunning(identity)).toBe(false)
  expect(said).toEqual(['ended the Temporal server of a former start'])
  expect(await namespace(next)).toEqual(before)
})

test('a server that ends while it starts is told with its last words', async () => {
  await expect(start('/bin/false')).rejects.toThrow(/^Temporal did not start: it ended with exit code 1/)
})

test('a server that cannot have a port of its own choosing is started again', async () => {
  const program = join(directory, 'temporal-second-time')
  const script = `#!/bin/sh\nif mkdir '${directory}/tried' 2>/dev/null; then echo '{"level":"FATAL","msg":"","error":"address in use"}'; exit 1; fi\nexec '${temporalBinary()}' "$@"\n`
  writeFileSync(program, script, { mode: 0o755 })
  const server = await start(program)
  expect((await namespace(server)).keepsDays).toBe(7)
  expect(said).toEqual([expect.stringContaining('trying once more')])
  expect(said[0]).toContain('FATAL: address in use')
})
