// The embedded Temporal: a development server on a file database, with the settings that make it quick.
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { askJson } from './http-json.ts'
import { logEnd, logTail } from './log-file.ts'
import { freePort, requireFreePort } from './ports.ts'
import { endRemembered, type Running, startProgram } from './running.ts'

export interface TemporalOptions {
  /** The `temporal` program. */
  program: string
  /** Its database. */
  directory: string
  /** 0 takes a free one. */
  port: number
  uiPort: number
  namespace: string
  logFile: string
  env: Readonly<Record<string, string | undefined>>
  log: (line: string) => void
}

export interface RunningTemporal extends Running {
  /** host:port */
  address: string
  uiUrl: string
}

// A week: long enough to look into a run that went wrong. What a run was is in Postgres, for as long as its row.
const RETENTION = '604800s'

// The server polls its task queues 20 times a second by default, and its SQLite waits for the disk at every
// step: start to first activity takes 83 ms. With these it takes 27 ms, and tasks are not lost under load.
const quick = [
  ['--sqlite-pragma', 'journal_mode=wal'],
  ['--sqlite-pragma', 'synchronous=1'],
  ['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=500'],
  ['--dynamic-config-value', 'history.timerProcessorMaxPollRPS=500'],
  ['--dynamic-config-value', 'history.visibilityProcessorMaxPollRPS=500'],
  // A queue has four parts by default, for many servers to share: a task in one goes through the database, or from
  // hand to hand, to a worker that asks another. Here is one server. All four are read, since one that was started
  // without this may have left tasks there.
  ['--dynamic-config-value', 'matching.numTaskqueueWritePartitions=1'],
  // A development server reads its search attributes from the database, one caller at a time, whenever a workflow has
  // any. A cache serves as well when it is never old: the attributes are made on the first start, and never change.
  ['--dynamic-config-value', 'system.forceSearchAttributesCacheRefreshOnRead=false'],
  ['--dynamic-config-value', 'system.namespaceCacheRefreshInterval="500ms"'],
].flat()

/** Resolves once it answers. A server that a killed predecessor left on the same directory is ended first. */
export async function startTemporal(options: TemporalOptions): Promise<RunningTemporal> {
  const directory = resolve(options.directory)
  // The server has no door of its own: who reads its database reads every history.
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const pidFile = join(directory, 'process.json')
  if (await endRemembered(pidFile, 5_000)) options.log('ended the Temporal server of a former start')
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(options, directory, pidFile)
    } catch (error) {
      if (!(error instanceof EndedAtStart) || attempt === START_ATTEMPTS) throw error
      options.log(`Temporal ended at its start; trying once more. ${error.message}`)
    }
  }
}

/** The server takes some ports that nobody can choose, and another program may be faster at one of them. */
const START_ATTEMPTS = 3

class EndedAtStart extends Error {}

async function startOnce(options: TemporalOptions, directory: string, pidFile: string): Promise<RunningTemporal> {
  const port = options.port === 0 ? await freePort() : options.port
  const uiPort = options.uiPort === 0 ? await freePort() : options.uiPort
  await requireFreePort(port, 'Temporal', 'AMBIENT_TEMPORAL_PORT')
  await requireFreePort(uiPort, "Temporal's web UI", 'AMBIENT_TEMPORAL_UI_PORT')
  const httpPort = await freePort()
  const ports = ['--ip', '127.0.0.1', '--port', `${port}`, '--http-port', `${httpPort}`, '--ui-port', `${uiPort}`]
  const database = ['--db-filename', join(directory, 'temporal.db'), '--namespace', options.namespace]
  const begun = logEnd(options.logFile)
  const running = await startProgram({
    command: [options.program, 'server', 'start-dev', ...ports, ...database, ...quick],
    // Go's collector trades memory for time by these; the server is mostly idle.
    env: { GOGC: '50', ...options.env },
    logFile: options.logFile,
    pidFile,
    graceMs: 4_000,
  })
  try {
    await ready(running, `http://127.0.0.1:${httpPort}/api/v1/namespaces/${encodeURIComponent(options.namespace)}`)
  } catch (error) {
    await running.stop()
    const message = `Temporal did not start: ${(error as Error).message}\n${logTail(options.logFile, begun)}`
    throw error instanceof EndedAtStart
      ? new EndedAtStart(message, { cause: error })
      : new Error(message, { cause: error })
  }
  return { ...running, address: `127.0.0.1:${port}`, uiUrl: `http://127.0.0.1:${uiPort}` }
}

const Namespace = z.object({ config: z.object({ workflowExecutionRetentionTtl: z.string() }) })

/** The namespace is the last thing that a new server sets up. */
async function ready(running: Running, namespaceUrl: string): Promise<void> {
  const ended = running.exited.then((how): never => {
    throw new EndedAtStart(`it ${how}`)
  })
  ended.catch(() => {}) // Only an end before it is ready matters here.
  const deadline = Date.now() + 60_000
  while (true) {
    const namespace = await Promise.race([read(namespaceUrl), ended])
    if (namespace)
      return namespace.config.workflowExecutionRetentionTtl === RETENTION ? undefined : retain(namespaceUrl)
    if (Date.now() > deadline) throw new Error('it does not answer after 60 s')
    await Promise.race([delay(40), ended])
  }
}

async function read(namespaceUrl: string) {
  const answer = await askJson(namespaceUrl, 2_000)
  // Null: it does not listen yet; other than 200: the namespace is not there yet.
  return answer?.status === 200 ? Namespace.parse(answer.body) : null
}

async function retain(namespaceUrl: string): Promise<void> {
  const wanted = { config: { workflowExecutionRetentionTtl: RETENTION } }
  const answer = await askJson(`${namespaceUrl}/update`, 10_000, { body: wanted })
  if (answer?.status !== 200) throw new Error(`its retention cannot be set: ${JSON.stringify(answer)}`)
}
