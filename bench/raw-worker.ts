// A process of the throughput's baseline: `raw-worker.ts workflows|activities <address> <namespace> <slots>`.
import { fileURLToPath } from 'node:url'
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker'
import { grpcCompression } from '../temporal.ts'
import { workflowSettings } from '../workers/workflow-settings.ts'
import { RAW_ACTIVITIES, RAW_WORKFLOWS } from './raw-workflow.ts'

export const rawActivities = {
  take: async (_run: { runId: string }) => ({ hostId: 'raw' }),
  work: async (_run: { runId: string; hostId: string }) => ({ kind: 'ended' }),
  end: async (_run: { runId: string; hostId: string }) => {},
}

// The bundle of the workflow has this module's type alone.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [role, address = '', namespace = '', slots = ''] = process.argv.slice(2)
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] })
  const connection = await NativeConnection.connect({ address, grpcCompression })
  // As Ambient's own workers are set; so is the connection.
  const worker = await Worker.create(
    role === 'workflows'
      ? {
          ...{ connection, namespace, taskQueue: RAW_WORKFLOWS },
          workflowsPath: fileURLToPath(new URL('raw-workflow.ts', import.meta.url)),
          ...workflowSettings,
        }
      : {
          ...{ connection, namespace, taskQueue: RAW_ACTIVITIES },
          activities: rawActivities,
          maxConcurrentActivityTaskExecutions: Number(slots),
        },
  )
  // Ends with the bench, whatever becomes of that.
  process.stdin.once('close', () => worker.shutdown()).resume()
  const done = worker.run()
  process.stdout.write('polling\n')
  await done
  await connection.close()
}
