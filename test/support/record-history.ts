// Keeps the history of a run, to be replayed by all later versions of the workflow.
import { mkdir, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { WorkflowHandle } from '@temporalio/client'
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js'

const directory = fileURLToPath(new URL('../replay/histories/', import.meta.url))

/**
 * Writes the history under the name of the test, when RECORD_HISTORIES names
 * the version that is recorded (a date or a release). A history that is there
 * is never written again: it stands for the runs of its time.
 */
export async function recordHistory(handle: WorkflowHandle, testName: string): Promise<void> {
  const version = process.env.RECORD_HISTORIES
  if (!version) return
  const name = historyName(testName.replace(/^.*> /, ''))
  await mkdir(directory, { recursive: true })
  const history: unknown = JSON.parse(historyToJSON(await handle.fetchHistory()))
  const json = JSON.stringify(history, withoutMachine)
  const path = `${directory}${version}-${name}.json`
  await writeFile(path, `${json}\n`, { flag: 'wx' }).catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  })
}

/** What follows the version in the name of a history's file. */
export const historyName = (testName: string): string =>
  testName
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 80)

/** Which machine a history was recorded on is of no use to a replay. */
function withoutMachine(key: string, value: unknown): unknown {
  if (key === 'identity') return 'worker'
  if (key === 'stackTrace') return ''
  return typeof value === 'string' ? value.replaceAll(`@${hostname()}`, '@worker') : value
}
