// `ambient runs`, `ambient runs show`.
import { typed } from '../../config.ts'
import type { RunItem } from '../../domain/run.ts'
import type { Api } from '../client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import { findRun, quoted } from '../input.ts'
import type { Style } from '../render/style.ts'
import { addToTotals, noTotals, renderSummary, runTime, shortId, type Totals } from '../render/summary.ts'
import { table } from '../render/table.ts'
import { clean, duration, oneLine, plural } from '../render/text.ts'
import { stateColour } from '../render.ts'
import { createScreen } from '../screen.ts'

export const RUNS_LIMIT = 20

export interface RunsOptions {
  state?: string[]
  search?: string
  environment?: string
  limit: number
  cursor?: string
  json?: boolean
}

export async function runs(options: RunsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { environment } = options
  const page = await api.list({
    environment: environment === undefined ? undefined : (await findEnvironment(api, environment)).uid,
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
    const filtered = options.state !== undefined || options.search !== undefined || environment !== undefined
    screen.write(filtered ? 'No run fits.\n' : `No runs yet. Start one: ${typed} run "…" --repo .\n`)
    return exitCodes.succeeded
  }
  screen.write(renderTable(page.runs, screen.style, Date.now()))
  if (page.page_info.has_next_page)
    screen.note(`There are more: ${typed} ${nextPage(options, page.page_info.next_cursor)}`)
  return exitCodes.succeeded
}

/** The same list, further on. */
function nextPage(options: RunsOptions, cursor: string | null | undefined): string {
  const filters = [
    ...(options.state ?? []).map((state) => `--state ${state}`),
    ...(options.search === undefined ? [] : [`--search ${quoted(options.search)}`]),
    ...(options.environment === undefined ? [] : [`--environment ${quoted(options.environment)}`]),
    ...(options.limit === RUNS_LIMIT ? [] : [`--limit ${options.limit}`]),
  ]
  return ['runs', ...filters, `--cursor ${quoted(String(cursor))}`].join(' ')
}

const TITLE_COLUMNS = 50

export function renderTable(list: readonly RunItem[], { colours }: Style, now: number): string {
  const rows = list.map((run) => {
    const time = runTime(run, now)
    return [
      shortId(run),
      run.state,
      oneLine(run.title, TITLE_COLUMNS),
      agentOf(run) + (run.demo ? ' (demo)' : ''),
      duration(Math.max(0, now - Date.parse(run.created_at)), 1),
      time === null ? '' : duration(time),
    ]
  })
  return table(['ID', 'STATE', 'TITLE', 'AGENT', 'AGE', 'TIME'], rows, colours.dim, (cell, column, row) => {
    const run = column === 1 ? list[row] : undefined
    return run ? stateColour(run.state, colours)(cell) : cell
  })
}

function agentOf(run: RunItem): string {
  const harness = run.agent_config.harness as { agent?: unknown } | undefined
  return clean(String(harness?.agent ?? ''))
}

export async function show(given: string, options: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const run = await api.get(await findRun(api, given))
  if (options.json) {
    screen.write(`${JSON.stringify(run)}\n`)
    return exitCodes.succeeded
  }
  const totals = await totalsOf(api, run.run_id)
  screen.write(renderRun(run, screen.style) + renderSummary(run, totals, screen.style))
  return exitCodes.succeeded
}

const PAGE = 500

/** What the transcript tells of changes and tokens, without the rest of it. */
async function totalsOf(api: Api, runId: string): Promise<Totals> {
  let totals = noTotals
  for (let after = 0; ; ) {
    const { events, page_info } = await api.events(runId, after, PAGE, ['turn_end', 'usage', 'result'])
    totals = events.reduce(addToTotals, totals)
    after = events.at(-1)?.sequence ?? after
    if (!page_info.has_next_page || events.length === 0) return totals
  }
}

const nameOf = ({ email, display_name: name, uid }: RunItem['creator']) => email ?? name ?? uid

export function renderRun(run: RunItem, style: Style): string {
  const { colours } = style
  const config = run.agent_config as {
    harness?: { model_id?: unknown }
    permission_policy?: unknown
    worker_host?: unknown
    idle_timeout_minutes?: unknown
    base_prompt?: unknown
  }
  const environment = (run.environment ?? {}) as {
    image?: unknown
    repos?: { url: string; ref?: string }[]
    setup_commands?: string[]
    egress?: { allow?: string[] }
  }
  const facts: [string, unknown][] = [
    ['Run', run.run_id],
    ['Title', run.title],
    ['State', run.state],
    ['Made by', run.creator.uid === 'operator' ? null : nameOf(run.creator)],
    ['Works as', run.executor.uid === run.creator.uid ? null : nameOf(run.executor)],
    ['Seen by', run.scope.type === 'User' ? 'whoever made it, and the admins of the team' : null],
    ['Agent', agentOf(run)],
    ['Model', config.harness?.model_id],
    ['Permissions', config.permission_policy],
    ['Pool', config.worker_host],
    [
      'Kept for',
      typeof config.idle_timeout_minutes === 'number' ? `${config.idle_timeout_minutes} min after its work` : null,
    ],
    ['Priority', run.priority === 0 ? null : run.priority],
    ['Concurrency', run.concurrency && `${run.concurrency.limit} at once of ${run.concurrency.group}`],
    ['Environment', run.agent_config.environment_id],
    ['Image', environment.image],
    ...(environment.repos ?? []).map((repo): [string, unknown] => [
      'Repository',
      repo.url + (repo.ref ? ` (${repo.ref})` : ''),
    ]),
    ...(environment.setup_commands ?? []).map((command): [string, unknown] => ['Set-up', oneLine(command, 100)]),
    ['Reaches', environment.egress && (environment.egress.allow?.join(', ') || 'no host')],
    ...run.blocked_hosts.map(({ host, port, count }): [string, unknown] => [
      'Blocked',
      `${host}${port === 0 ? '' : `:${port}`} (${count === 1 ? 'once' : `${count} times`})`,
    ]),
    ['Forked from', run.forked_from && `${run.forked_from.run_id}, checkpoint ${run.forked_from.checkpoint}`],
    ['Checkpoint', run.checkpoint && `${run.checkpoint.number} of ${run.checkpoint.taken_at}`],
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
    .concat(promptText(run.prompt, style))
    .join('')
}

const PROMPT_LINES = 20

/** The task, below the facts: it may have many lines. */
function promptText(prompt: string, { colours }: Style): string {
  const lines = clean(prompt).trim().split('\n')
  const left = lines.length - PROMPT_LINES
  const more = left > 0 ? [colours.dim(`… ${plural(left, 'line')} more (--json has them)`)] : []
  return `\n${[...lines.slice(0, PROMPT_LINES), ...more].map((line) => `${colours.cyan('›')} ${line}`.trimEnd()).join('\n')}\n`
}
