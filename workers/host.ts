// The host worker: takes runs from its pool's queue, and does everything for the sandboxes it holds on a queue of its own.
import { join } from 'node:path'
import { Client } from '@temporalio/client'
import { Worker } from '@temporalio/worker'
import { createAttendance } from '../activities/host/attended.ts'
import type { HostDeps } from '../activities/host/deps.ts'
import { createHoldings } from '../activities/host/holdings.ts'
import { makeHostActivities } from '../activities/host/index.ts'
import { createHostServer } from '../activities/host/server.ts'
import { type Config, dataPaths, loadConfig, serverUrl } from '../config.ts'
import { createHost } from '../environments/create-host.ts'
import { connectWorker } from '../temporal.ts'
import { hostQueue, poolQueue } from '../workflows/contract.ts'
import { attendHost } from './host-attendance.ts'
import { hostId, workerKey } from './keys.ts'
import { createLog } from './log.ts'
import { installRuntime, runUntilSignal } from './run-until-signal.ts'

export async function main(): Promise<void> {
  const config = loadConfig()
  const log = createLog(config, 'host')
  installRuntime(log)
  const deps = await hostDeps(config, log)
  const connection = await connectWorker(config, (reason) =>
    log.warn({ reason }, 'Temporal does not answer yet; waiting for it'),
  )
  const client = new Client({ connection, namespace: config.TEMPORAL_NAMESPACE })
  const attendance = createAttendance(join(config.AMBIENT_DATA, 'held'))
  await attendance.handBack(client, log)

  const holdings = createHoldings(deps)
  const { pool, host } = makeHostActivities(deps, attendance, holdings)
  const common = {
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    // A cancel reaches an activity with a heartbeat's answer; see HEARTBEAT_MS.
    maxHeartbeatThrottleInterval: '1s',
    shutdownGraceTime: '1s',
    shutdownForceTime: '8s',
  } as const
  const workers = await Promise.all([
    Worker.create({
      ...common,
      taskQueue: poolQueue(config.AMBIENT_POOL),
      activities: { ...pool },
      maxConcurrentActivityTaskExecutions: 4,
    }),
    Worker.create({
      ...common,
      taskQueue: hostQueue(deps.hostId),
      activities: { ...host },
      // Every held run has at most one activity in hand, and one that cleans up.
      maxConcurrentActivityTaskExecutions: config.AMBIENT_CAPACITY * 2 + 10,
    }),
  ])
  const stopAttending = attendHost(deps, holdings, config)
  log.info({ host: deps.hostId, kind: deps.host.kind, pool: config.AMBIENT_POOL }, 'polling')
  await runUntilSignal(workers, log)
  stopAttending()
  await connection.close()
}

async function hostDeps(config: Config, log: HostDeps['log']): Promise<HostDeps> {
  const paths = dataPaths(config)
  const host = await createHost(config, log)
  return {
    hostId: await hostId(config),
    host,
    server: createHostServer({ url: serverUrl(config), key: await workerKey(config), log }),
    log,
    runsDirectory: paths.runs,
    agentsDirectory: paths.agents,
    gatewayUrl: config.AMBIENT_GATEWAY_URL ?? `http://${host.loopback}:${config.AMBIENT_GATEWAY_PORT}`,
    capacity: config.AMBIENT_CAPACITY,
    resultBytes: config.AMBIENT_RESULT_MB * 1024 * 1024,
  }
}
