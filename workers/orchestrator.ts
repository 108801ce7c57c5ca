// The orchestrator worker: workflows, and the activities that touch Postgres.
import { type NativeConnection, Worker } from '@temporalio/worker'
import { makeOrchestratorActivities } from '../activities/orchestrator.ts'
import { makePullRequestActivities } from '../activities/pull-requests.ts'
import { makeScheduleActivities } from '../activities/schedules.ts'
import { storedForgeAccess } from '../activities/stored-forges.ts'
import { dataPaths, gitAllowed, loadConfig, runLink, version } from '../config.ts'
import { isClosed } from '../environments/egress/addresses.ts'
import { createForgeAccess } from '../forges/access.ts'
import { createGitSources } from '../secrets/git/sources.ts'
import { createUpstream } from '../secrets/git/upstream.ts'
import { createVault } from '../secrets/vault/vault.ts'
import { createDatabase } from '../store/database.ts'
import { describeChanges } from '../store/figures.ts'
import { sayPresent } from '../store/hosts/presence.ts'
import { startTracing, workflowInterceptorModules } from '../telemetry/tracing.ts'
import { createBuildMetrics, createWorkerMetrics } from '../telemetry/worker-metrics.ts'
import { connectWorker } from '../temporal.ts'
import { ORCHESTRATOR_QUEUE, type StateChange } from '../workflows/contract.ts'
import { workflowBundle } from './bundle.ts'
import { createLog } from './log.ts'
import { serveMetrics } from './metrics.ts'
import { installRuntime, runUntilSignal } from './run-until-signal.ts'
import { workflowSettings } from './workflow-settings.ts'

export async function main(): Promise<void> {
  const config = loadConfig()
  const log = createLog(config, 'worker')
  const temporalMetrics = await installRuntime(log, config)
  const metrics = serveMetrics('worker', config, log, temporalMetrics)
  const tracing = await startTracing('worker', version, config)
  const database = createDatabase(config)
  const vault = await createVault(config)
  const allowed = gitAllowed(config)
  const gitServers = createUpstream((address) => !isClosed(address, allowed))
  const connection: NativeConnection = await connectWorker(config, (reason) =>
    log.warn({ reason }, 'Temporal does not answer yet; waiting for it'),
  )
  const tell = createWorkerMetrics(metrics.registry)
  const countChanges = (news: readonly StateChange[]) => {
    describeChanges(database.db, news).then(
      (changes) => changes.forEach(tell),
      (error: unknown) => log.warn({ run: news[0]?.runId, reason: String(error) }, 'changes of state were not counted'),
    )
  }
  const worker = await Worker.create({
    ...tracing.workerOptions,
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    taskQueue: ORCHESTRATOR_QUEUE,
    workflowBundle: await workflowBundle(dataPaths(config).cache, workflowInterceptorModules(config), log),
    activities: {
      ...makeOrchestratorActivities({
        db: database.db,
        config,
        onRecorded: countChanges,
        onBuilt: createBuildMetrics(metrics.registry),
      }),
      ...makePullRequestActivities({
        db: database.db,
        forges: createForgeAccess(
          {
            github: { tokens: config.AMBIENT_GITHUB_TOKEN, file: config.AMBIENT_GITHUB_TOKEN_FILE },
            gitlab: { tokens: config.AMBIENT_GITLAB_TOKEN, file: config.AMBIENT_GITLAB_TOKEN_FILE },
          },
          storedForgeAccess(database.db, createGitSources({ db: database.db, vault, upstream: gitServers, config })),
        ),
        runLink: (runId) => runLink(config, runId),
        log,
      }),
      ...makeScheduleActivities({ db: database.db }),
    },
    ...workflowSettings,
    maxConcurrentActivityTaskExecutions: 50,
    shutdownGraceTime: '5s',
    shutdownForceTime: '8s',
  })
  log.info({ queue: ORCHESTRATOR_QUEUE }, 'polling')
  const leave = sayPresent(database.db)
  await runUntilSignal([worker], log)
  leave()
  metrics.close()
  gitServers.close()
  await tracing.close()
  await connection.close()
  await database.close()
}
