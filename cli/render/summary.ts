// The last words on a run: how it ended, what it made, and what to type next.

import { typed } from '../../config.ts'
import type { RunEvent } from '../../domain/event.ts'
import { usdText } from '../../domain/money/text.ts'
import type { RunItem } from '../../domain/run.ts'
import { isTerminal } from '../../domain/state.ts'
import { stateColour, stateWords } from '../render.ts'
import { answerHint, optionLines, questionText } from './question.ts'
import { lineWidth, type Style } from './style.ts'
import { asTyped, clean, duration, oneLine, parseIsoDuration, plural } from './text.ts'

/** What the transcript says about work and money. */
export interface Totals {
  filesChanged: number | null
  insertions: number
  deletions: number
  commits: number
  /** There is something that can be brought home as a branch. */
  hasBundle: boolean
  /** What became of branches that were to be pushed. */
  pushed: { path: string; branch: string; outcome: string }[]
  /** What of a repository could not be told, or is not in the result. */
  notes: { path: string; note: string }[]
  tokens: number
  cost: { amount: number; currency: string } | null
  /** The transcript was not read from its beginning: tokens are those of a part of it. */
  isPart: boolean
  /** The end of what commands have printed. */
  output: string
}

/** What stands above the summary, or follows it, and need not be said in it. */
export interface Surroundings {
  /** The transcript was just shown: the question, what a command printed. */
  transcript?: boolean
  /** The result is brought home next. */
  bringsHome?: boolean
}

/** A failure's log is at most 2,000 characters. */
const OUTPUT_CHARS = 4_000

export const noTotals: Totals = {
  filesChanged: null,
  insertions: 0,
  deletions: 0,
  commits: 0,
  hasBundle: false,
  pushed: [],
  notes: [],
  tokens: 0,
  cost: null,
  isPart: false,
  output: '',
}

/** The totals after one more event. */
export function addToTotals(totals: Totals, { kind, data }: RunEvent): Totals {
  if ((kind === 'output' || kind === 'setup') && typeof data.text === 'string') {
    return { ...totals, output: `${totals.output}${data.text}\n`.slice(-OUTPUT_CHARS) }
  }
  if (kind === 'turn_end') return { ...totals, tokens: totals.tokens + turnTokens(data.usage) }
  if (kind === 'usage') {
    const cost = data.cost as { amount?: unknown; currency?: unknown } | null | undefined
    if (typeof cost?.amount !== 'number') return totals
    return { ...totals, cost: { amount: cost.amount, currency: String(cost.currency ?? 'USD') } }
  }
  if (kind === 'result') {
    const repos = (data.repos ?? []) as Record<string, unknown>[]
    const sum = (field: string) => repos.reduce((total, repo) => total + countOf(repo[field]), 0)
    return {
      ...totals,
      filesChanged: sum('files_changed'),
      insertions: sum('insertions'),
      deletions: sum('deletions'),
      commits: sum('commits'),
      // Transcripts of before it was told do not have it.
      hasBundle: repos.some(({ bundle }) => bundle !== false),
      notes: repos.flatMap(({ path, note }) => (typeof note === 'string' ? [{ path: String(path), note }] : [])),
      pushed: repos.flatMap(({ path, push }) => {
        const { branch, outcome } = (push ?? {}) as Record<string, unknown>
        return branch === undefined ? [] : [{ path: String(path), branch: String(branch), outcome: String(outcome) }]
      }),
    }
  }
  return totals
}

const countOf = (value: unknown) => (Array.isArray(value) ? value.length : typeof value === 'number' ? value : 0)

function turnTokens(usage: unknown): number {
  const fields = (usage ?? {}) as Record<string, unknown>
  const total = fields.totalTokens ?? fields.total_tokens
  if (typeof total === 'number') return total
  return ['inputTokens', 'outputTokens', 'input_tokens', 'output_tokens'].reduce(
    (sum, field) => sum + countOf(fields[field]),
    0,
  )
}

export const shortId = (run: { run_id: string }) => run.run_id.slice(0, 8)

/** How long the agent was at work; null before it began. */
export function runTime(run: RunItem, now: number): number | null {
  if (run.run_time) return parseIsoDuration(run.run_time)
  if (!run.started_at) return null
  return (run.finished_at ? Date.parse(run.finished_at) : now) - Date.parse(run.started_at)
}

export function renderSummary(
  run: RunItem,
  totals: Totals,
  style: Style,
  surroundings: Surroundings = {},
  now = Date.now(),
): string {
  const { colours } = style
  const mark = run.state === 'SUCCEEDED' ? '✓' : isTerminal(run.state) ? '✗' : '·'
  const colour = stateColour(run.state, colours)
  const words = stateWords[run.state] ?? run.state
  const facts = factsOf(run, totals, now)
  const lines = [
    `${colour(`${mark} ${words.charAt(0).toUpperCase()}${words.slice(1)}`)}${facts === '' ? '' : colours.dim(` · ${facts}`)}`,
    ...failureLines(run, totals, style),
    ...totals.notes.map(({ path, note }) => `  ${clean(path)}: ${clean(note)}`),
    ...totals.pushed.map(({ path, branch, outcome }) =>
      outcome === 'pushed'
        ? `  ${clean(path)}: pushed to ${colours.bold(clean(branch))}`
        : `  ${clean(path)}: ${colours.yellow('not pushed')} to ${clean(branch)}; the transcript says why`,
    ),
    ...questionLines(run, style, { isShown: surroundings.transcript === true }),
    ...(run.demo && isTerminal(run.state)
      ? ['  A demo: no model key is set, so a scripted model stands in for a real one. It costs nothing.']
      : []),
    ...unpricedLines(run),
    ...nextLines(run, totals, style, surroundings),
  ]
  return `\n${lines.map((line) => `${line}\n`).join('')}`
}

/** Time and changes count from the run's beginning: where that is more than what was just shown, it is said. */
function factsOf(run: RunItem, totals: Totals, now: number): string {
  const time = runTime(run, now)
  const counted = tokensText(run)
  const told = totals.tokens > 0 ? plural(totals.tokens, 'token') : null
  // What an agent reckons a scripted model to cost, nobody pays.
  const cost = run.demo ? null : costText(run, totals)
  const ofPart = [totals.isPart && counted === null ? told : null]
  const ofAll = [
    time === null ? null : duration(time),
    totals.filesChanged === null ? null : changesText(totals),
    counted ?? (totals.isPart ? null : told),
    cost,
  ]
  const listed = (facts: (string | null)[]) => facts.filter((fact) => fact !== null).join(' · ')
  const all = listed(ofAll)
  const label = run.execution > 1 && all !== '' ? `in all ${run.execution} executions: ` : ''
  return listed([listed(ofPart) || null, all === '' ? null : label + all])
}

export function changesText(totals: Pick<Totals, 'filesChanged' | 'insertions' | 'deletions' | 'commits'>): string {
  if (!totals.filesChanged && totals.commits === 0) return 'no files changed'
  const commits = totals.commits > 0 ? `, ${plural(totals.commits, 'commit')}` : ''
  return `${plural(totals.filesChanged ?? 0, 'file')} changed +${totals.insertions} −${totals.deletions}${commits}`
}

/** As the gateway has counted them, all kinds together; null where it has counted none: then there is what the agent says. */
function tokensText({ request_usage: usage }: RunItem): string | null {
  if (!usage || usage.total_tokens === 0) return null
  const models = Object.values(usage.usage_by_category).flatMap((category) =>
    [category.direct_api_inference_usage, category.custom_endpoint_inference_usage].flatMap((used) =>
      Object.values(used ?? {}),
    ),
  )
  const cached = models.reduce((sum, { token_count: tokens }) => sum + tokens.input_cache_read, 0)
  const all = plural(usage.total_tokens, 'token')
  return cached === 0 ? all : `${all}, ${cached.toLocaleString('en')} of them from caches`
}

/** As the server has charged it; of one that charges nothing, as the agent reckons. */
function costText({ request_usage: usage }: RunItem, totals: Totals): string | null {
  const charged = usage ? usage.inference_cost_usd + usage.compute_cost_usd : 0
  if (charged > 0) return usdText(charged)
  return totals.cost && totals.cost.amount > 0 ? money(totals.cost) : null
}

const money = ({ amount, currency }: { amount: number; currency: string }) =>
  `${currency === 'USD' ? '$' : `${clean(currency)} `}${amount < 1 ? amount.toFixed(4) : amount.toFixed(2)}`

/** What looks cheap may not be. */
function unpricedLines({ request_usage: usage, demo }: RunItem): string[] {
  if (!usage || usage.unpriced_calls === 0 || demo) return []
  return [
    `  The cost leaves out ${plural(usage.unpriced_calls, 'model call')}: the price of the model is not known here. No budget counts them.`,
  ]
}

function failureLines(run: RunItem, totals: Totals, style: Style): string[] {
  const { failure } = run
  const { colours } = style
  if (!failure) {
    const told = run.state === 'SUCCEEDED' || run.questions.length > 0 ? null : run.status_message
    return told ? [`  ${clean(told.message)}`] : []
  }
  const lines = [`  ${clean(failure.message)} ${colours.dim(`(${failure.code}, phase ${failure.phase})`)}`]
  if (failure.command) {
    const exit = failure.exit_code === undefined ? '' : colours.dim(` → exit code ${failure.exit_code}`)
    lines.push(`  ${colours.dim('$')} ${clean(failure.command)}${exit}`)
  }
  const isShown = failure.log_tail !== undefined && lastLines(totals.output).endsWith(lastLines(failure.log_tail))
  if (failure.log_tail && !isShown) {
    const log = clean(failure.log_tail).trimEnd().split('\n')
    lines.push(...log.map((line) => colours.dim(`  │ ${line}`)))
  }
  if (failure.next_step) lines.push(`  ${colours.bold('Next:')} ${asTyped(clean(failure.next_step))}`)
  else if (failure.retryable)
    lines.push(`  ${colours.bold('Next:')} the same run can be expected to do better when started again.`)
  return lines
}

/** As it stands in the transcript, where empty lines may be left out. */
const lastLines = (text: string) => text.replace(/\n\s*\n/g, '\n').trim()

/** What the agent asks, whole unless it was just shown, with the options by which `ambient answer` knows them. */
export function questionLines(
  run: Pick<RunItem, 'questions'>,
  style: Style,
  { isShown }: { isShown: boolean },
): string[] {
  const { colours } = style
  return run.questions.flatMap((question) => {
    const which = run.questions.length > 1 ? colours.dim(` (--question ${clean(question.question_id)})`) : ''
    const [head = '', ...details] = isShown
      ? [`${colours.yellow('?')} ${colours.bold(oneLine(question.title, lineWidth(style) - 4))}`]
      : questionText(question, style)
    const advice = question.next_step
    const nextStep = advice === undefined ? [] : [`  ${colours.bold('Next:')} ${asTyped(clean(advice))}`]
    return [`  ${head}${which}`, ...details, ...optionLines(question, style), ...nextStep]
  })
}

/** Commands that are of use now, with what they do. */
function nextLines(run: RunItem, totals: Totals, style: Style, { bringsHome }: Surroundings): string[] {
  const id = shortId(run)
  const next: [string, string][] = []
  const [question] = run.questions
  if (question?.about === 'budget') next.push([`budgets show ${id}`, 'see all budgets that hold for it'])
  else if (question?.about === 'credits') next.push(['credits', 'see what the team has'])
  else if (question) {
    const [example, more] = answerHint(question)
    next.push([`answer ${id} ${example}`, more])
  }
  if (totals.filesChanged || totals.commits > 0) {
    next.push([`diff ${id}`, 'see the changes'])
    if (!bringsHome && totals.hasBundle) next.push([`apply ${id} --branch`, 'bring them home as a branch'])
  }
  if (isTerminal(run.state)) next.push([`send ${id} "…"`, 'go on with another message'])
  else next.push([`logs ${id} --follow`, 'follow it'], [`cancel ${id}`, 'stop it'])
  const width = Math.max(...next.map(([command]) => command.length))
  return next.map(([command, what]) => `  ${typed} ${command.padEnd(width)}  ${style.colours.dim(what)}`)
}
