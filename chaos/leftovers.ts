// What nobody may find when all runs are over: work that is not done, and anything that runs or lies about.
import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { loadConfig } from '../config.ts'
import type { RunItem } from '../domain/run.ts'
import { createDatabase } from '../store/database.ts'
import { connectClient } from '../temporal.ts'
import { leftovers } from '../test/support/leftovers.ts'
import type { Difference } from './checks.ts'
import { get } from './drive.ts'
import { namesIn } from './evidence.ts'
import type { System } from './system.ts'

/** Upkeep that no run waits for is given this long. */
const SETTLE_MS = 30_000

/** Looked at while everything runs, once all runs are over. `runIds`: those that there should be. */
export async function leftInAmbient(system: System, runIds: readonly string[]): Promise<Difference[]> {
  return settled(() => lookAround(system, runIds))
}

/** What is found at the end of the time that it has to go away, or nothing as soon as that is so. */
async function settled<T>(look: () => Promise<T[]>): Promise<T[]> {
  const deadline = Date.now() + SETTLE_MS
  for (;;) {
    const found = await look()
    if (found.length === 0 || Date.now() > deadline) return found
    await new Promise((resolve) => setTimeout(resolve, 1_000))
  }
}

async function lookAround(system: System, runIds: readonly string[]): Promise<Difference[]> {
  const looks: Record<string, () => Promise<string[]>> = {
    'workflows that run': () => runningWorkflows(system),
    'rows of work that is not done': () => unfinishedRows(system),
    'runs that nobody started': async () => (await allRuns(system)).filter((id) => !runIds.includes(id)),
    'run directories of no run': async () => {
      const names = await Promise.all(system.places.map(({ data }) => namesIn(join(data, 'runs'))))
      return names.flat().filter((name) => !runIds.includes(name))
    },
    'notes of activities in hand': async () =>
      (await Promise.all(system.places.map(({ data }) => namesIn(join(data, 'held'))))).flat(),
    'containers and processes of runs': async () => [
      ...(await leftovers(...runIds)),
      ...(await Promise.all(system.places.map(containersOf))).flat(),
    ],
  }
  const found = await Promise.all(Object.entries(looks).map(async ([what, look]) => [what, await look()] as const))
  return found.flatMap(([what, left]) => (left.length === 0 ? [] : [difference(what, left)]))
}

/** Looked at once everything was stopped. */
export async function leftOnMachine(system: System): Promise<Difference[]> {
  const processes = (await Promise.all(system.places.map(({ data }) => processesOf(data)))).flat()
  const networks = await settled(() => sparesOf(system))
  return [
    ...(processes.length === 0 ? [] : [difference('processes after the end of Ambient', processes)]),
    ...(networks.length === 0 ? [] : [difference('networks made ahead, after the end of Ambient', networks)]),
  ]
}

const difference = (what: string, found: string[]): Difference => ({
  run: 'the machine',
  runId: null,
  what,
  expected: [],
  found,
})

async function runningWorkflows({ stack }: System): Promise<string[]> {
  const client = connectClient(loadConfig({ AMBIENT_TEMPORAL_PORT: stack.env.AMBIENT_TEMPORAL_PORT }))
  try {
    const found: string[] = []
    for await (const { workflowId } of client.workflow.list({ query: 'ExecutionStatus = "Running"' }))
      found.push(workflowId)
    return found
  } finally {
    await client.connection.close()
  }
}

async function unfinishedRows({ stack }: System): Promise<string[]> {
  const password = (await readFile(join(stack.data, 'postgres', 'password'), 'utf8')).trim()
  const at = `127.0.0.1:${stack.env.AMBIENT_POSTGRES_PORT}`
  const { db, close } = createDatabase(`postgres://ambient:${password}@${at}/ambient`)
  try {
    const places = await db.selectFrom('places').select('run_id').execute()
    const mail = await db
      .selectFrom('mail')
      .select(['run_id', 'kind'])
      .where((eb) => eb.or([eb('accepted_at', 'is', null), eb('dispatched_at', 'is', null)]))
      .execute()
    return [
      ...places.map(({ run_id }) => `place of ${run_id}`),
      ...mail.map(({ run_id, kind }) => `${kind} to ${run_id}`),
    ]
  } finally {
    await close()
  }
}

async function allRuns({ stack }: System): Promise<string[]> {
  const ids: string[] = []
  let cursor = ''
  for (;;) {
    const path = `/api/v1/agent/runs?limit=100${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`
    const page = await get<{ runs: RunItem[]; page_info: { next_cursor?: string } }>(stack, path)
    ids.push(...page.runs.map(({ run_id }) => run_id))
    if (page.page_info.next_cursor === undefined) return ids
    cursor = page.page_info.next_cursor
  }
}

async function containersOf({ data }: { data: string }): Promise<string[]> {
  const ids = await containerIds('-a', '--filter', `label=ambient.directory=${join(data, 'runs')}`)
  return ids.map((id) => `container ${id}`)
}

async function containerIds(...options: string[]): Promise<string[]> {
  const { stdout } = await execa('docker', ['ps', '-q', ...options], { reject: false })
  return stdout.split('\n').filter((id) => id !== '')
}

/** Those that nobody has joined end with their host. One that was not started goes with the next start of the host. */
async function sparesOf({ places }: System): Promise<string[]> {
  const running = ['--filter', 'status=running']
  const found = places.map(({ data }) =>
    containerIds(...running, '--filter', `label=ambient.spare-of=${join(data, 'runs')}`),
  )
  return (await Promise.all(found)).flat()
}

/** Whatever names this data directory, or works in it. */
async function processesOf(data: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue
    const read = (name: string) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '') // Ended, or another user's.
    const [environment, commandLine] = [await read('environ'), (await read('cmdline')).replaceAll('\0', ' ')]
    const directory = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    const isOfIt = environment.includes(`AMBIENT_DATA=${data}\0`) || commandLine.includes(`${data}/`)
    if (isOfIt || directory.startsWith(`${data}/`)) found.push(`${pid}: ${commandLine}`)
  }
  return found
}
