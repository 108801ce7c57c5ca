// `ambient workers`: the hosts, their draining, and their keys.
import { setTimeout as delay } from 'node:timers/promises'
import { typed } from '../../config.ts'
import type { WorkerItem, WorkerKeyItem } from '../../domain/worker.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { CliError, type ExitCode, exitCodes, usageError } from '../exit.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, duration } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface WorkersOptions {
  json?: boolean
}

/** How often it is asked whether a host is drained. */
const WAIT_MS = 1_000

export async function workers({ json }: WorkersOptions): Promise<ExitCode> {
  const screen = createScreen()
  const list = await connect().workers.list()
  if (json) screen.write(`${JSON.stringify({ workers: list })}\n`)
  else if (list.length === 0) screen.write(`No host has reported yet. Start one: ${typed} host\n`)
  else screen.write(renderWorkers(list, screen.style, Date.now()))
  return exitCodes.succeeded
}

export function renderWorkers(list: readonly WorkerItem[], { colours }: Style, now: number): string {
  const paint = { live: colours.green, draining: colours.yellow, drained: colours.yellow, gone: colours.dim }
  const rows = table(
    ['HOST', 'POOL', 'KIND', 'STATE', 'RUNS', 'SEEN', 'VERSION'],
    list.map((worker) => [
      clean(worker.worker_id),
      worker.pool,
      worker.kind,
      worker.state,
      `${worker.in_use}/${worker.capacity}`,
      `${duration(Math.max(0, now - Date.parse(worker.last_seen_at)), 1)} ago`,
      clean(worker.version),
    ]),
    colours.dim,
    (cell, column, row) => (column === 3 ? paint[list[row]?.state ?? 'gone'](cell) : cell),
  )
  const failing = list.filter(({ egress, state }) => egress === 'failing' && state !== 'gone')
  const notes = failing.map(
    ({ worker_id: id }) => `! ${clean(id)} cannot close its sandboxes' network, and starts none. Its log says why.\n`,
  )
  return rows + notes.join('')
}

export async function drain(given: string, options: WorkersOptions & { wait?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const id = await findWorker(api, given)
  let worker = await api.workers.setDraining(id, true)
  while (options.wait && worker.state !== 'drained') {
    if (worker.state === 'gone')
      throw new CliError(exitCodes.error, `${id} has not reported for 45 s: what it holds is not known.`)
    await delay(WAIT_MS)
    worker = (await api.workers.list()).find(({ worker_id: other }) => other === id) ?? worker
  }
  if (options.json) screen.write(`${JSON.stringify(worker)}\n`)
  else if (worker.state === 'drained') screen.write(`${id} is drained and may be stopped.\n`)
  else
    screen.write(
      `${id} takes no new run. It holds ${worker.in_use}. Wait for them: ${typed} workers drain --wait ${id}\n`,
    )
  return exitCodes.succeeded
}

export async function undrain(given: string, { json }: WorkersOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const worker = await api.workers.setDraining(await findWorker(api, given), false)
  screen.write(json ? `${JSON.stringify(worker)}\n` : `${worker.worker_id} takes new runs again.\n`)
  return exitCodes.succeeded
}

export async function remove(given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const id = await findWorker(api, given)
  await api.workers.remove(id)
  screen.write(`${id} is forgotten.\n`)
  return exitCodes.succeeded
}

/** The one host whose id begins so. */
async function findWorker(api: Api, given: string): Promise<string> {
  const ids = (await api.workers.list()).map(({ worker_id: id }) => id)
  if (ids.includes(given)) return given
  const fitting = ids.filter((id) => id.startsWith(given))
  const [only] = fitting
  if (only !== undefined && fitting.length === 1) return only
  if (fitting.length > 1) throw usageError(`Several hosts begin with ${given}: ${fitting.join(', ')}`)
  throw usageError(`There is no host ${given}.`, `The hosts: ${typed} workers`)
}

export async function createKey(name: string, options: WorkersOptions & { pool?: string }): Promise<ExitCode> {
  const screen = createScreen()
  const made = await connect().workers.createKey(name, options.pool)
  if (options.json) screen.write(`${JSON.stringify(made)}\n`)
  else {
    screen.write(`${made.key}\n`)
    screen.note(
      `It is shown this once. On the other machine: AMBIENT_WORKER_KEY=… ambient host${made.pool ? ` --pool ${made.pool}` : ''}`,
    )
  }
  return exitCodes.succeeded
}

export async function listKeys({ json }: WorkersOptions): Promise<ExitCode> {
  const screen = createScreen()
  const keys = await connect().workers.keys()
  if (json) screen.write(`${JSON.stringify({ keys })}\n`)
  else if (keys.length === 0)
    screen.write(`There are no keys beside AMBIENT_WORKER_KEY. Make one: ${typed} workers keys create <name>\n`)
  else screen.write(renderKeys(keys, screen.style, Date.now()))
  return exitCodes.succeeded
}

function renderKeys(keys: readonly WorkerKeyItem[], { colours }: Style, now: number): string {
  const ago = (time: string | null) =>
    time === null ? 'never' : `${duration(Math.max(0, now - Date.parse(time)), 1)} ago`
  return table(
    ['UID', 'KEY', 'NAME', 'POOL', 'MADE', 'USED'],
    keys.map((key) => [
      key.uid,
      `${key.key_prefix}…`,
      clean(key.name),
      key.pool ?? 'any',
      ago(key.created_at),
      ago(key.last_used_at),
    ]),
    colours.dim,
  )
}

export async function revokeKey(uid: string): Promise<ExitCode> {
  const screen = createScreen()
  await connect().workers.revokeKey(uid)
  screen.write('The key is revoked.\n')
  return exitCodes.succeeded
}
