// `ambient runs`, `ambient runs show`.
import { typed } from '../../config.ts'
import type { ValueSource } from '../../domain/configuration/configuration.ts'
import { usdText } from '../../domain/money/text.ts'
import type { RunItem } from '../../domain/run.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { CliError, type ExitCode, exitCodes } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import { findRun, quoted } from '../input.ts'
import { artifactLabel, artifactUid } from '../render/artifact.ts'
import { budgetBar } from '../render/budget.ts'
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
  const [totals, environment] = await Promise.all([totalsOf(api, run.run_id), environmentName(api, run)])
  screen.write(renderRun(run, screen.style, environment) + renderSummary(run, totals, screen.style))
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

/** Null where it names none, or one that is gone, or is another team's. */
async function environmentName(api: Api, { agent_config: config }: RunItem): Promise<string | null> {
  const uid = config.environment_id
  if (typeof uid !== 'string' || uid === '') return null
  try {
    return (await api.environments.get(uid)).config.name
  } catch (error) {
    if (error instanceof CliError) return null
    throw error
  }
}

const nameOf = ({ email, display_name: name, uid }: RunItem['creator']) => email ?? name ?? uid

/** In money, by its parts, and in credits. */
function costOf({ request_usage: usage, demo }: RunItem): string | null {
  if (usage === null) return null
  const models = demo ? 'a scripted model, which costs nothing' : `${usdText(usage.inference_cost_usd)} for models`
  const total = usdText(usage.inference_cost_usd + usage.compute_cost_usd)
  const credits = Math.round((usage.inference_cost + usage.compute_cost) * 100) / 100
  const unpriced =
    usage.unpriced_calls > 0 && !demo ? `; ${plural(usage.unpriced_calls, 'model call')} without a price` : ''
  return `${total} (${models}, ${usdText(usage.compute_cost_usd)} for compute), ${credits} credits${unpriced}`
}

/** `environmentName`: of the stored environment, where it is known. */
export function renderRun(run: RunItem, style: Style, environmentName: string | null = null): string {
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
    ['Skill', run.agent_skill && `${run.agent_skill.full_path} at ${run.agent_skill.revision.slice(0, 12)}`],
    ['Model', config.harness?.model_id],
    ['Permissions', config.permission_policy],
    ['Pool', config.worker_host],
    [
      'Kept for',
      typeof config.idle_timeout_minutes === 'number' ? `${config.idle_timeout_minutes} min after its work` : null,
    ],
    ['Priority', run.priority === 0 ? null : run.priority],
    ['Concurrency', run.concurrency && `${run.concurrency.limit} at once of ${run.concurrency.group}`],
    [
      'Environment',
      environmentName === null
        ? run.agent_config.environment_id
        : `${environmentName} (${run.agent_config.environment_id})`,
    ],
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
    ...run.artifacts.map((artifact): [string, unknown] => [
      'Artifact',
      [artifact.artifact_type, artifactUid(artifact), oneLine(artifactLabel(artifact), 80)].filter(Boolean).join('  '),
    ]),
    ['Cost', costOf(run)],
    ...run.budgets.map((budget): [string, unknown] => [
      budget.scope === 'run' ? 'Budget' : 'Tree budget',
      budgetBar(budget),
    ]),
    ['Execution', run.execution > 1 ? run.execution : null],
    ['Events', run.last_event_sequence],
    ...Object.entries(run.metadata).map(([key, value]): [string, unknown] => ['Metadata', `${key}=${value}`]),
  ]
  return facts
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `${colours.dim(name.padEnd(12))}${clean(String(value))}\n`)
    .concat(configurationTable(run, style))
    .concat(promptText(run.prompt, style))
    .join('')
}

/** What the run was configured with, and where that came from. */
function configurationTable({ agent_config: config, configuration }: RunItem, { colours }: Style): string {
  if (configuration === null) return ''
  const { sources, profile, saved_prompt: saved, rules } = configuration
  const used = [
    ...(profile ? [['profile', `${profile.name}, version ${profile.version}`]] : []),
    ...(saved ? [['saved prompt', `${saved.name}, version ${saved.version}`]] : []),
    ...rules.map(({ name, version }) => ['rule', `${name}, version ${version}`]),
  ]
  const rows = [
    ...used.map(([what = '', which = '']) => [what, clean(which), '']),
    ...Object.entries(sources).map(([field, source]) => [
      field,
      clean(valueAt(config, field)),
      clean(sourceText(source)),
    ]),
  ]
  return rows.length === 0 ? '' : `\n${table(['CONFIGURATION', 'VALUE', 'FROM'], rows, colours.dim)}`
}

/** `harness.agent` is the `agent` of the `harness`. */
function valueAt(config: Record<string, unknown>, field: string): string {
  const value = field
    .split('.')
    .reduce<unknown>((of, name) => (of as Record<string, unknown> | null | undefined)?.[name], config)
  return oneLine(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''), 60)
}

const sourceText = ({ type, name, version, uid }: ValueSource): string =>
  [type.replace('_', ' '), name ?? uid?.slice(0, 8), version === undefined ? null : `version ${version}`]
    .filter(Boolean)
    .join(' ')

const PROMPT_LINES = 20

/** The task, below the facts: it may have many lines. */
function promptText(prompt: string, { colours }: Style): string {
  const lines = clean(prompt).trim().split('\n')
  const left = lines.length - PROMPT_LINES
  const more = left > 0 ? [colours.dim(`… ${plural(left, 'line')} more (--json has them)`)] : []
  return `\n${[...lines.slice(0, PROMPT_LINES), ...more].map((line) => `${colours.cyan('›')} ${line}`.trimEnd()).join('\n')}\n`
}
