// Downloads the `temporal` program for this machine: `download-temporal.ts <directory> <version>`.
import { TestWorkflowEnvironment } from '@temporalio/testing'

const [, , downloadDir = '', version = ''] = process.argv
try {
  const environment = await TestWorkflowEnvironment.createLocal({
    server: { executable: { type: 'cached-download', downloadDir, version } },
  })
  await environment.teardown()
  process.exit(0)
} catch (error) {
  // The chain of causes repeats itself; its end is the reason.
  const reason = error instanceof Error ? error.message.split('error sending request for url').at(-1) : error
  process.stderr.write(`${String(reason).replace(/^ \([^)]*\): /, '')}\n`)
  process.exit(1)
}
