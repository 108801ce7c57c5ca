// The HTTP API over a real database and a real Temporal, without workers: what is asked for is written down and handed
// over, and nobody carries it out.
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { startTestApi, type TestApi, type TestApiOptions } from './api.ts'
import { temporalBinary } from './temporal.ts'

export async function startApiWithTemporal(options: Omit<TestApiOptions, 'client'> = {}): Promise<TestApi> {
  const temporal = await TestWorkflowEnvironment.createLocal({
    server: { executable: { type: 'existing-path', path: temporalBinary() }, log: { format: 'json', level: 'error' } },
  })
  const api = await startTestApi({ ...options, client: temporal.client })
  return {
    ...api,
    async close() {
      await api.close()
      await temporal.teardown()
    },
  }
}
