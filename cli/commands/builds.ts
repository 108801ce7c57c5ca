// `ambient environments build`, `builds`, `log`, `cancel`: the builds of an environment.
import { setTimeout as delay } from 'node:timers/promises'
import { typed } from '../../config.ts'
import type { BuildItem } from '../../domain/environment.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { asTyped, clean, duration, oneLine } from '../render/text.ts'
import { createScreen, type Screen } from '../screen.ts'

export interface BuildOptions {
  host?: string
  force?: boolean
  push?: boolean
  follow?: boolean
  json?: boolean
}

export interface BuildsOptions {
  limit: number
  json?: boolean
}

export interface LogOptions {
  follow?: boolean
  json?: boolean
}

/** How often it is asked for more of a log. */
const FOLLOW_MS = 1_000
/** Builds that are looked through for one that is named by the beginning of its id. */
const LOOKED_THROUGH = 500

export async function build(given: string, options: BuildOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid } = await findEnvironment(api, given)
  const asked = await api.environments.build(uid, {
    ...(options.force && { force: true }),
    ...(options.push && { reason: 'push' }),
    ...(options.host !== undefined && { worker_id: options.host }),
  })
  if (!options.follow) {
    if (options.json) for (const each of asked) screen.write(`${JSON.stringify(each)}\n`)
    else screen.write(renderBuilds(asked, screen.style, Date.now()))
    if (!options.json) screen.note(`Watch: ${typed} environments log ${uid} --follow`)
    return exitCodes.succeeded
  }
  let code: ExitCode = exitCodes.succeeded
  for (const each of asked) {
    if (asked.length > 1 && !options.json) screen.write(screen.style.colours.bold(`On ${clean(each.worker_id)}:\n`))
    const ended = await showLog(api, screen, uid, each, { ...options, follow: true })
    if (code === exitCodes.succeeded) code = ended
  }
  return code
}

export async function builds(given: string, { limit, json }: BuildsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid } = await findEnvironment(api, given)
  const list = await api.environments.builds(uid, limit)
  if (json) screen.write(`${JSON.stringify({ builds: list })}\n`)
  else if (list.length === 0) screen.write(`It was never built. Build it: ${typed} environments build ${uid}\n`)
  else screen.write(renderBuilds(list, screen.style, Date.now()))
  return exitCodes.succeeded
}

export function renderBuilds(list: readonly BuildItem[], { colours }: Style, now: number): string {
  const paint = {
    QUEUED: colours.dim,
    BUILDING: colours.yellow,
    READY: colours.green,
    FAILED: colours.red,
    CANCELLED: colours.dim,
  }
  return table(
    ['BUILD', 'HOST', 'STATE', 'REASON', 'AGE', 'TIME', 'USED', ''],
    list.map((item) => [
      shortBuild(item),
      clean(item.worker_id),
      item.state,
      item.reason,
      duration(Math.max(0, now - Date.parse(item.created_at)), 1),
      item.started_at === null
        ? ''
        : duration(Math.max(0, (item.finished_at ? Date.parse(item.finished_at) : now) - Date.parse(item.started_at))),
      item.used_at === null ? 'never' : `${duration(Math.max(0, now - Date.parse(item.used_at)), 1)} ago`,
      outcome(item),
    ]),
    colours.dim,
    (cell, column, row) => (column === 2 ? paint[list[row]?.state ?? 'QUEUED'](cell) : cell),
  )
}

const shortBuild = ({ build_id: id }: BuildItem) => id.slice(0, 8)

function outcome({ result, failure }: BuildItem): string {
  if (failure) return oneLine(failure.message, 80)
  if (!result) return ''
  return `${Math.ceil(result.bytes / 1024 ** 2)} MiB${result.reused ? ', the same as before' : ''}`
}

export async function log(given: string, build: string | undefined, options: LogOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid } = await findEnvironment(api, given)
  return showLog(api, screen, uid, await findBuild(api, uid, build), options)
}

export async function cancel(given: string, build: string | undefined, options: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid } = await findEnvironment(api, given)
  const meant =
    build === undefined
      ? (await api.environments.builds(uid, LOOKED_THROUGH)).filter(({ finished_at: finished }) => finished === null)
      : [await findBuild(api, uid, build)]
  if (meant.length === 0) throw usageError('No build of it goes on.', `${typed} environments builds ${uid}`)
  for (const each of meant) {
    const cancelled = await api.environments.cancelBuild(uid, each.build_id)
    screen.write(
      options.json
        ? `${JSON.stringify(cancelled)}\n`
        : `${shortBuild(each)} on ${clean(each.worker_id)} is being cancelled.\n`,
    )
  }
  return exitCodes.succeeded
}

/** The one whose id begins so; the newest where none is named. */
async function findBuild(api: Api, uid: string, given: string | undefined): Promise<BuildItem> {
  const list = await api.environments.builds(uid, given === undefined ? 1 : LOOKED_THROUGH)
  const fitting = given === undefined ? list : list.filter(({ build_id: id }) => id.startsWith(given.toLowerCase()))
  const [only] = fitting
  if (only !== undefined && fitting.length === 1 && (given === undefined || given.length >= 4)) return only
  if (given === undefined) throw usageError('It was never built.', `Build it: ${typed} environments build ${uid}`)
  throw usageError(
    fitting.length > 1 ? `${fitting.length} builds have an id that begins with ${given}.` : `It has no build ${given}.`,
    `${typed} environments builds ${uid}`,
  )
}

/** The lines there are, or up to the end; then how it stands. The exit code is that of its end. */
async function showLog(
  api: Api,
  screen: Screen,
  uid: string,
  { build_id: id }: BuildItem,
  { follow, json }: LogOptions,
): Promise<ExitCode> {
  let after = '0'
  for (;;) {
    const { lines, page_info: page } = await api.environments.log(uid, id, after)
    for (const line of lines) screen.write(json ? `${JSON.stringify(line)}\n` : `${clean(line.text)}\n`)
    after = page.next_cursor
    if (page.has_next_page) continue
    if (page.is_over || !follow) break
    await delay(FOLLOW_MS)
  }
  const ended = await api.environments.getBuild(uid, id)
  screen.write(json ? `${JSON.stringify(ended)}\n` : renderEnd(ended, screen.style))
  if (ended.state === 'FAILED') return exitCodes.failed
  return ended.state === 'CANCELLED' ? exitCodes.cancelled : exitCodes.succeeded
}

export function renderEnd(item: BuildItem, { colours }: Style): string {
  const { failure, result } = item
  if (item.state === 'READY' && result)
    return `${colours.green('READY')}  ${outcome(item)} on ${clean(item.worker_id)}\n`
  if (!failure) return `${item.state}\n`
  const command = failure.command === undefined ? '' : `  ${oneLine(failure.command, 200)}\n`
  const code = failure.exit_code === undefined ? '' : `  exit code ${failure.exit_code}\n`
  const next = failure.next_step === undefined ? '' : `  ${asTyped(oneLine(failure.next_step, 300))}\n`
  return `${colours.red('FAILED')}  ${oneLine(failure.message, 300)}\n${command}${code}${next}`
}
