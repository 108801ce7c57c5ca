// The host worker: takes runs from its pool's queue, and does everything for the sandboxes it holds on a queue of its own.
import { join } from 'node:path'
import { Client } from '@temporalio/client'
import { Worker } from '@temporalio/worker'
import { createAttendance } from '../activities/host/attended.ts'
import type { HostDeps } from '../activities/host/deps.ts'
import { createHoldings } from '../activities/host/holdings.ts'
import { makeHostActivities } from '../activities/host/index.ts'
import { keepOrders } from '../activities/host/kept-orders.ts'
import { keepPositions } from '../activities/host/kept-positions.ts'
import { dropUnfinishedReadings } from '../activities/host/read-skills.ts'
import { createHostServer } from '../activities/host/server.ts'
import { handBackUnnoted, hostIdentity } from '../activities/host/unnoted.ts'
import { createUsedEnvironments } from '../activities/host/used-environments.ts'
import { dataPaths, inheritedEnvironment, loadConfig, serverUrl, version } from '../config.ts'
import { createHost } from '../environments/create-host.ts'
import { createGitAccess } from '../environments/git/access.ts'
import { createBeginner } from '../environments/prepared/begin-from.ts'
import { openSnapshots } from '../environments/prepared/snapshots.ts'
import { createHostMetrics } from '../telemetry/host-metrics.ts'
import { startTracing } from '../telemetry/tracing.ts'
import { connectWorker } from '../temporal.ts'
import { hostQueue, poolQueue } from '../workflows/contract.ts'
import { gatewayUrl } from './gateway-url.ts'
import { attendHost, introduce } from './host-attendance.ts'
import { endFormerKind } from './host-tidiness.ts'
import { hostId, hostSecret, workerKey } from './keys.ts'
import { createLog } from './log.ts'
import { serveMetrics } from './metrics.ts'
import { createPoolPolling } from './pool-polling.ts'
import { installRuntime, runUntilSignal } from './run-until-signal.ts'

/** What the command line says goes before the environment. */
export interface HostOptions {
  pool?: string | undefined
  capacity?: string | undefined
}

export async function main({ pool, capacity }: HostOptions = {}): Promise<void> {
  const config = loadConfig({
    ...inheritedEnvironment(),
    ...(pool === undefined ? {} : { AMBIENT_POOL: pool }),
    ...(capacity === undefined ? {} : { AMBIENT_CAPACITY: capacity }),
  })
  const log = createLog(config, 'host')
  const temporalMetrics = await installRuntime(log, config)
  const served = serveMetrics('host', config, log, temporalMetrics)
  const tracing = await startTracing('host', version, config)
  const paths = dataPaths(config)
  const host = await createHost(config, log)
  // Before anything is taken up again: two agents must not work on one run.
  await endFormerKind(host, config, log)
  await dropUnfinishedReadings(paths.runs)
  const id = await hostId(config)
  const connected = createHostServer({
    url: serverUrl(config),
    key: await workerKey(config),
    hostId: id,
    secret: await hostSecret(config),
    log,
  })
  const server = keepPositions(keepOrders(connected, config.AMBIENT_CAPACITY * 2))
  const common = { host, server, capacity: config.AMBIENT_CAPACITY }
  const holdings = createHoldings(common, () => onRelease())
  // Before anything is asked for: a host that the server does not know would be refused everything.
  const standing = await introduce(common, holdings, config)

  const gateway = await gatewayUrl(config, host.loopback, standing.gateway_port)
  await host.setGateway(gateway)
  let { draining } = standing
  const deps: HostDeps = {
    ...common,
    hostId: id,
    log,
    runsDirectory: paths.runs,
    agentsDirectory: paths.agents,
    git: await createGitAccess({
      directory: paths.git,
      mirrors: config.AMBIENT_MIRRORS_GB === 0 ? null : paths.mirrors,
      credentials: config.AMBIENT_GIT_CREDENTIALS ?? null,
      sshKey: config.AMBIENT_GIT_SSH_KEY ?? null,
      knownHosts: config.AMBIENT_GIT_KNOWN_HOSTS ?? null,
      fileBytes: config.AMBIENT_DISK_GB * 1024 ** 3,
      cloneMinutes: config.AMBIENT_CLONE_MINUTES,
    }),
    snapshots: openSnapshots(paths.snapshots, paths.runs),
    beginner: createBeginner(paths.runs, host),
    environments: createUsedEnvironments(),
    gatewayUrl: gateway,
    brokerUrl: config.AMBIENT_GIT_BROKER_URL ?? gateway,
    bindsCredentials: config.AMBIENT_CREDENTIAL_BINDING === 'sandbox',
    onDraining: () => attending.reportNow(),
    metrics: createHostMetrics(served.registry, async () => ({
      capacity: common.capacity,
      held: await holdings.count(),
      draining,
    })),
    diskBytes: config.AMBIENT_DISK_GB * 1024 ** 3,
    resultBytes: config.AMBIENT_RESULT_MB * 1024 * 1024,
    checkpointBytes: config.AMBIENT_CHECKPOINT_MB * 1024 * 1024,
  }
  const connection = await connectWorker(config, (reason) =>
    log.warn({ reason }, 'Temporal does not answer yet; waiting for it'),
  )
  const client = new Client({ connection, namespace: config.TEMPORAL_NAMESPACE })
  const attendance = createAttendance(join(config.AMBIENT_DATA, 'held'))
  await attendance.handBack(client, log)

  const activities = makeHostActivities(deps, attendance, holdings)
  const identity = hostIdentity(id)
  const options = {
    ...tracing.workerOptions,
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    identity: identity.own,
    // A cancel reaches an activity with a heartbeat's answer; see HEARTBEAT_MS.
    maxHeartbeatThrottleInterval: '1s',
    shutdownGraceTime: '1s',
    shutdownForceTime: '8s',
  } as const
  const poolWorker = () =>
    Worker.create({
      ...options,
      taskQueue: poolQueue(config.AMBIENT_POOL),
      activities: { ...activities.pool },
      maxConcurrentActivityTaskExecutions: 4,
    })
  const hostWorker = await Worker.create({
    ...options,
    taskQueue: hostQueue(id),
    activities: { ...activities.host },
    // Every held run has at most one activity in hand, and one that cleans up.
    maxConcurrentActivityTaskExecutions: config.AMBIENT_CAPACITY * 2 + 10,
  })
  // Meanwhile others are taken up: it asks for each run that is here.
  const known = host.list().then((runs) => runs.map(({ runId }) => runId))
  known
    .then((runIds) => handBackUnnoted(client, identity, runIds, log))
    .catch((error: unknown) => log.warn({ reason: String(error) }, 'not all of the former worker was given back'))
  const polling = createPoolPolling(poolWorker, log)
  polling.set(!standing.draining)
  const attending = attendHost(deps, holdings, config, (now) => {
    draining = now.draining
    polling.set(!draining)
  })
  // Whoever drains a host waits for its last run to go.
  const onRelease = () => {
    if (draining) attending.reportNow()
  }
  log.info({ host: id, kind: host.kind, pool: config.AMBIENT_POOL }, 'polling')
  await Promise.race([runUntilSignal([hostWorker], log, () => polling.stop()), polling.failed])
  attending.stop()
  served.close()
  await tracing.close()
  await connection.close()
}
