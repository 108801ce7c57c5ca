// The orchestrator worker: workflows, and the activities that touch Postgres.
import { type NativeConnection, Worker } from '@temporalio/worker'
import { makeOrchestratorActivities } from '../activities/orchestrator.ts'
import { dataPaths, loadConfig } from '../config.ts'
import { createDatabase } from '../store/database.ts'
import { connectWorker } from '../temporal.ts'
import { ORCHESTRATOR_QUEUE } from '../workflows/contract.ts'
import { workflowBundle } from './bundle.ts'
import { createLog } from './log.ts'
import { installRuntime, runUntilSignal } from './run-until-signal.ts'

export async function main(): Promise<void> {
  const config = loadConfig()
  const log = createLog(config, 'worker')
  installRuntime(log)
  const database = createDatabase(config)
  const connection: NativeConnection = await connectWorker(config, (reason) =>
    log.warn({ reason }, 'Temporal does not answer yet; waiting for it'),
  )
  const worker = await Worker.create({
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    taskQueue: ORCHESTRATOR_QUEUE,
    workflowBundle: await workflowBundle(dataPaths(config).cache, log),
    activities: makeOrchestratorActivities({ db: database.db, config }),
    // A dead worker's cached workflows are taken over after this long.
    stickyQueueScheduleToStartTimeout: '3s',
    maxConcurrentActivityTaskExecutions: 50,
    maxConcurrentWorkflowTaskExecutions: 40,
    maxCachedWorkflows: 500,
    shutdownGraceTime: '5s',
    shutdownForceTime: '8s',
  })
  log.info({ queue: ORCHESTRATOR_QUEUE }, 'polling')
  await runUntilSignal([worker], log)
  await connection.close()
  await database.close()
}
