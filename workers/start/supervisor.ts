// All parts of Ambient on one machine: started side by side, kept running, stopped in order.
import { type Config, dataPaths, inheritedEnvironment } from '../../config.ts'
import { createSupervisorMetrics, type SupervisorMetrics } from '../../telemetry/supervisor-metrics.ts'
import { gatewayAddresses } from '../gateway-addresses.ts'
import { adminKey, workerKey } from '../keys.ts'
import { serveMetrics } from '../metrics.ts'
import { makeDataDirectory } from './data-directory.ts'
import { type AgentSetup, prepareDefaultAgent } from './default-agent.ts'
import { answers, healthy } from './health.ts'
import { runHelper } from './helper.ts'
import { chooseHostKind, type HostKind } from './host-kind.ts'
import { takeLock } from './lock.ts'
import { boundLog, logEnd, logTail } from './log-file.ts'
import {
  localUrl,
  type Part,
  partGraceMs,
  partLog,
  partPidFile,
  parts,
  type Surroundings,
  startPart,
  withoutSecrets,
} from './parts.ts'
import { freePort, requireFreePort } from './ports.ts'
import { startPostgres } from './postgres.ts'
import { requireDatabase, requireTemporal } from './reach.ts'
import { endRemembered, type Running } from './running.ts'
import { type Death, type Supervised, supervise } from './supervise.ts'
import { startTemporal } from './temporal.ts'
import { findTemporal } from './temporal-binary.ts'
import { clearTrouble, noteTrouble } from './trouble.ts'

export type Say = (about: string, line: string) => void

export interface Started {
  config: Config
  hostKind: HostKind
  agent: AgentSetup
  temporalUi: string | null
  /** Rejects when a part does nothing but end. */
  failed: Promise<never>
}

export interface Supervisor {
  /** Resolves once a run would be carried out. Aborts with the signal's reason. */
  start(signal: AbortSignal): Promise<Started>
  /** Everything that was started, in order: those that use something before what they use. Agents go on. */
  stop(): Promise<void>
}

// Stopped from first to last; those of one stage together.
const stages = [
  ['host', 'worker'],
  ['server', 'gateway'],
  ['Temporal', 'Postgres'],
] as const
type Name = (typeof stages)[number][number]

const BOUND_LOGS_MS = 60_000
/** Ends in a row that are told one by one; of further ones, one in as many. */
const LOUD_DEATHS = 6

export function createSupervisor(given: Config, say: Say): Supervisor {
  const running = new Map<Name, Supervised>()
  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => {}) // Heard by whoever waits for it.
  const cleanUp: (() => void)[] = []
  let metrics: SupervisorMetrics | null = null
  let hasStarted = false
  const env = withoutSecrets(inheritedEnvironment())

  async function keep(name: Name, start: () => Promise<Running>, log: string): Promise<void> {
    let begun = 0
    const onDeath = ({ how, count, againMs }: Death) => {
      metrics?.died(name)
      noteTrouble(given, name, { how, count })
      // The same again and again would hide everything else; the log has it all.
      if (count > LOUD_DEATHS && count % LOUD_DEATHS !== 0 && againMs !== null) return
      const often = count === 1 ? '' : `, ${count} times in a row`
      const next = againMs === null ? 'it is given up' : `starting it again in ${againMs / 1000} s`
      const tail = count === 1 ? logTail(log, begun) : ''
      say(name, `${how}${often}; ${next}.${tail === '' ? '' : ` Its log (${log}) says:\n${indent(tail)}`}`)
    }
    const startAndTell = async () => {
      begun = logEnd(log)
      const part = await start()
      metrics?.started(name)
      return part
    }
    const supervised = await supervise({ name, start: startAndTell, onDeath, givesUp: () => !hasStarted })
    running.set(name, supervised)
    supervised.done.catch((error: Error) => {
      const tail = logTail(log, begun)
      failure.reject(
        new Error(
          `${error.message}.${tail === '' ? ` Its log is ${log}.` : ` Its log (${log}) says:\n${indent(tail)}`}`,
        ),
      )
    })
  }

  async function postgres(config: Config, signal: AbortSignal): Promise<string> {
    if (config.DATABASE_URL) {
      await requireDatabase(config.DATABASE_URL, signal)
      return config.DATABASE_URL
    }
    const directory = dataPaths(config).postgres
    let url = ''
    const start = async () => {
      const log = (line: string) => say('Postgres', line)
      const server = await startPostgres({ directory, port: config.AMBIENT_POSTGRES_PORT, log })
      url = server.url
      return server
    }
    await keep('Postgres', start, `${directory}/log`)
    return url
  }

  async function temporal(config: Config, signal: AbortSignal): Promise<{ ui: string | null }> {
    if (config.TEMPORAL_ADDRESS) {
      const check = { env, signal, say: (line: string) => say('Temporal', line) }
      await requireTemporal(config.TEMPORAL_ADDRESS, config.TEMPORAL_NAMESPACE, check)
      return { ui: null }
    }
    const paths = dataPaths(config)
    const log = (line: string) => say('Temporal', line)
    const program = await findTemporal({ paths, env, say: log, signal })
    let ui = ''
    const logFile = partLog(config, 'temporal')
    const start = async () => {
      const server = await startTemporal({
        program,
        directory: paths.temporal,
        port: config.AMBIENT_TEMPORAL_PORT,
        uiPort: config.AMBIENT_TEMPORAL_UI_PORT,
        namespace: config.TEMPORAL_NAMESPACE,
        logFile,
        env,
        log,
      })
      ui = server.uiUrl
      return server
    }
    await keep('Temporal', start, logFile)
    return { ui }
  }

  async function startAll(wish: AbortSignal): Promise<Started> {
    const trouble = new AbortController()
    const signal = AbortSignal.any([wish, trouble.signal])
    makeDataDirectory(given.AMBIENT_DATA)
    const lock = await takeLock(given.AMBIENT_DATA)
    cleanUp.push(lock.release)
    await Promise.all(parts.map((part) => endLeftover(given, part, say)))
    const told = (_line: object, text: string) => say('Metrics', text)
    const scrapes = serveMetrics('supervisor', given, { info: () => {}, warn: told })
    cleanUp.push(scrapes.close)
    metrics = createSupervisorMetrics(scrapes.registry)
    const config = await withPorts(given)
    await Promise.all([adminKey(config), workerKey(config)])
    const bounding = setInterval(() => boundLogs(config), BOUND_LOGS_MS)
    cleanUp.push(() => clearInterval(bounding))

    const helper = (about: string) => ({ env, signal, say: (line: string) => say(about, line) })
    const part = (name: Part, surroundings: Surroundings) => {
      signal.throwIfAborted()
      return keep(name, () => startPart(name, config, surroundings), partLog(config, name))
    }

    // The image and the agent may take minutes on a first start; what does not need them does not wait.
    const kind = chooseHostKind(config, helper('Docker'))
    const agent = prepareDefaultAgent(config, helper('Agent'))
    const bundle = runHelper('bundle-setup.ts', [], helper('Workflows'))
    const database = postgres(config, signal)
    const workflows = temporal(config, signal)
    const bases = Promise.all([database, workflows])
    // First, because it brings the database up to date before it listens.
    const served = bases.then(async ([databaseUrl]) => {
      await part('server', { databaseUrl, hostKind: 'direct', containerGateway: null })
      await Promise.race([answers(localUrl(config), signal), failure.promise])
      return databaseUrl
    })
    const others = Promise.all([served, kind, bundle]).then(async ([databaseUrl, hostKind]) => {
      const containerGateway = hostKind.kind === 'docker' ? hostKind.gateway : null
      const surroundings = { databaseUrl, hostKind: hostKind.kind, containerGateway }
      await Promise.all([part('gateway', surroundings), part('worker', surroundings), part('host', surroundings)])
    })
    // Each on its own: what is being started when something else fails has to be there before it can be stopped.
    await all([kind, agent, bundle, database, workflows, served, others], trouble)
    await Promise.race([healthy(localUrl(config), (line) => say('Health', line), signal), failure.promise])
    hasStarted = true
    const [[, { ui }], hostKind] = await Promise.all([bases, kind])
    return { config, hostKind, agent: await agent, temporalUi: ui, failed: failure.promise }
  }

  let starting: Promise<unknown> = Promise.resolve()
  return {
    start(signal) {
      const started = startAll(signal)
      starting = started.catch(() => {}) // Heard by the caller.
      return started
    },
    async stop() {
      await starting
      for (const stage of stages) await Promise.all(stage.map((name) => running.get(name)?.stop()))
      clearTrouble(given)
      for (const undo of cleanUp.reverse()) undo()
    },
  }
}

/** Unlike Promise.all, an error calls off the rest, and is told once nothing is being started any more. */
async function all(work: Promise<unknown>[], trouble: AbortController): Promise<void> {
  await Promise.all(work.map((each) => each.catch((error: unknown) => trouble.abort(error))))
  if (trouble.signal.aborted) throw trouble.signal.reason
}

async function endLeftover(config: Config, part: Part, say: Say): Promise<void> {
  if (await endRemembered(partPidFile(config, part), partGraceMs(part))) say(part, 'ended the one of a former start')
}

/** Every port 0 replaced by a free one, so that all parts get to know the same; those of our own parts looked at before anything is started. */
async function withPorts(config: Config): Promise<Config> {
  const orFree = async (port: number) => (port === 0 ? freePort() : port)
  const ports = {
    AMBIENT_PORT: await orFree(config.AMBIENT_PORT),
    AMBIENT_GATEWAY_PORT: await orFree(config.AMBIENT_GATEWAY_PORT),
    AMBIENT_POSTGRES_PORT: await orFree(config.AMBIENT_POSTGRES_PORT),
    AMBIENT_TEMPORAL_PORT: await orFree(config.AMBIENT_TEMPORAL_PORT),
    AMBIENT_TEMPORAL_UI_PORT: await orFree(config.AMBIENT_TEMPORAL_UI_PORT),
  }
  const bind = { address: config.AMBIENT_BIND, setting: 'AMBIENT_BIND' }
  await requireFreePort(ports.AMBIENT_PORT, 'the API', 'AMBIENT_PORT', bind)
  for (const address of gatewayAddresses(config.AMBIENT_GATEWAY_BIND)) {
    const at = { address, setting: 'AMBIENT_GATEWAY_BIND' }
    await requireFreePort(ports.AMBIENT_GATEWAY_PORT, 'the model gateway', 'AMBIENT_GATEWAY_PORT', at)
  }
  return Object.freeze({ ...config, ...ports })
}

function boundLogs(config: Config): void {
  for (const name of [...parts, 'temporal']) boundLog(partLog(config, name))
  boundLog(`${dataPaths(config).postgres}/log`)
}

const indent = (text: string) => text.replace(/^/gm, '    ')
