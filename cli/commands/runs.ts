// `ambient runs`, `ambient runs show`.
import type { RunItem } from '../../domain/run.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import { findRun } from '../input.ts'
import type { Style } from '../render/style.ts'
import { noTotals, renderSummary, runTime, shortId } from '../render/summary.ts'
import { clean, columns, duration, oneLine } from '../render/text.ts'
import { stateColour } from '../render.ts'
import { createScreen } from '../screen.ts'

export interface RunsOptions {
  state?: string[]
  search?: string
  limit: number
  cursor?: string
  json?: boolean
}

export async function runs(options: RunsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const page = await connect().list({
    limit: options.limit,
    cursor: options.cursor,
    state: options.state?.map((state) => state.toUpperCase()),
    q: options.search,
  })
  if (options.json) {
    screen.write(`${JSON.stringify(page)}\n`)
    return exitCodes.succeeded
  }
  if (page.runs.length === 0) {
    const filtered = options.state !== undefined || options.search !== undefined
    screen.write(filtered ? 'No run fits.\n' : 'No runs yet. Start one: ambient run "…" --repo .\n')
    return exitCodes.succeeded
  }
  screen.write(renderTable(page.runs, screen.style, Date.now()))
  if (page.page_info.has_next_page) screen.note(`There are more: ambient runs --cursor ${page.page_info.next_cursor}`)
  return exitCodes.succeeded
}

const TITLE_COLUMNS = 50

export function renderTable(list: readonly RunItem[], style: Style, now: number): string {
  const { colours } = style
  const rows = list.map((run) => {
    const time = runTime(run, now)
    const created = Date.parse(run.created_at)
    return {
      state: run.state,
      cells: [
        shortId(run),
        run.state,
        oneLine(run.title, TITLE_COLUMNS),
        agentOf(run) + (run.demo ? ' (demo)' : ''),
        duration(Math.max(0, now - created), 1),
        time === null ? '' : duration(time),
      ],
    }
  })
  const heads = ['ID', 'STATE', 'TITLE', 'AGENT', 'AGE', 'TIME']
  const widths = heads.map((head, index) =>
    Math.max(head.length, ...rows.map(({ cells }) => columns(cells[index] ?? ''))),
  )
  const line = (cells: string[], paint: (cell: string, index: number) => string) =>
    cells
      .map((cell, index) => paint(cell, index) + ' '.repeat((widths[index] ?? 0) - columns(cell)))
      .join('  ')
      .trimEnd()
  return [
    line(heads, (cell) => colours.dim(cell)),
    ...rows.map(({ state, cells }) =>
      line(cells, (cell, index) => (index === 1 ? stateColour(state, colours)(cell) : cell)),
    ),
  ]
    .map((row) => `${row}\n`)
    .join('')
}

function agentOf(run: RunItem): string {
  const harness = run.agent_config.harness as { type?: unknown } | undefined
  return clean(String(harness?.type ?? ''))
}

export async function show(given: string, options: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const run = await api.get(await findRun(api, given))
  if (options.json) {
    screen.write(`${JSON.stringify(run)}\n`)
    return exitCodes.succeeded
  }
  screen.write(renderRun(run, screen.style) + renderSummary(run, noTotals, screen.style))
  return exitCodes.succeeded
}

export function renderRun(run: RunItem, style: Style): string {
  const { colours } = style
  const config = run.agent_config as {
    harness?: { model_id?: unknown }
    permission_policy?: unknown
    worker_host?: unknown
  }
  const environment = (run.environment ?? {}) as {
    image?: unknown
    repos?: { url: string; ref?: string }[]
    setup_commands?: string[]
  }
  const facts: [string, unknown][] = [
    ['Run', run.run_id],
    ['Title', run.title],
    ['State', run.state],
    ['Agent', agentOf(run)],
    ['Model', config.harness?.model_id],
    ['Permissions', config.permission_policy],
    ['Pool', config.worker_host],
    ['Image', environment.image],
    ...(environment.repos ?? []).map((repo): [string, unknown] => [
      'Repository',
      repo.url + (repo.ref ? ` (${repo.ref})` : ''),
    ]),
    ...(environment.setup_commands ?? []).map((command): [string, unknown] => ['Set-up', oneLine(command, 100)]),
    ['Created', run.created_at],
    ['Started', run.started_at],
    ['Finished', run.finished_at],
    ['Execution', run.execution > 1 ? run.execution : null],
    ['Events', run.last_event_sequence],
    ...Object.entries(run.metadata).map(([key, value]): [string, unknown] => ['Metadata', `${key}=${value}`]),
  ]
  return facts
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `${colours.dim(name.padEnd(12))}${clean(String(value))}\n`)
    .join('')
}
