// `ambient credits`: what the team has to spend, and the ledger of it.
import type { Credits, LedgerEntry } from '../../domain/money/money.ts'
import { usdText } from '../../domain/money/text.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import { findRun } from '../input.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface GrantOptions {
  purchase?: boolean
  takeBack?: boolean
  usd?: number
  note?: string
  json?: boolean
}

export interface LedgerOptions {
  kind?: readonly string[]
  person?: string
  run?: string
  schedule?: string
  since?: string
  until?: string
  limit: number
  csv?: boolean
  json?: boolean
}

export async function credits({ json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const found = await connect().money.credits()
  screen.write(json ? `${JSON.stringify(found)}\n` : renderCredits(found, screen.style))
  return exitCodes.succeeded
}

export async function grant(given: number, { purchase, takeBack, usd, note, json }: GrantOptions): Promise<ExitCode> {
  const screen = createScreen()
  const found = await connect().money.grant({
    kind: purchase ? 'purchase' : 'grant',
    credits: takeBack ? -given : given,
    ...(usd !== undefined && { usd }),
    ...(note !== undefined && { note }),
  })
  screen.write(json ? `${JSON.stringify(found)}\n` : renderCredits(found, screen.style))
  return exitCodes.succeeded
}

export function renderCredits(found: Credits, { colours }: Style): string {
  const { balance, is_enforced: isEnforced, needed_to_start: needed, month, spent, your_month: yours } = found
  const rule = isEnforced
    ? `A run needs ${needed} to start; at zero those that run are paused.`
    : 'They are only counted here, and stop nothing (AMBIENT_CREDITS).'
  const head = `${colours.bold(`${shown(balance.credits)} credits`)}  ${rule}\nGiven ${shown(found.granted)}, purchased ${shown(found.purchased)}; a dollar is ${found.credits_per_dollar} credits.\n\n`
  const line = (name: string, of: Credits['spent']) => [
    name,
    ...[of.inference, of.compute, of.total].map(({ usd, credits: used }) => `${usdText(usd)} / ${shown(used)}`),
  ]
  return (
    head +
    table(
      ['SPENT', 'MODELS', 'COMPUTE', 'TOGETHER'],
      [line('this month', month), line('of it yours', yours), line('since ever', spent)],
      colours.dim,
    )
  )
}

const shown = (amount: number): string => String(Math.round(amount * 100) / 100)

/** Most that the API gives at once. */
const PAGE = 500

export async function ledger(options: LedgerOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const runId = options.run === undefined ? undefined : await findRun(api, options.run)
  const entries: LedgerEntry[] = []
  if (options.csv) screen.write(`${columns.map(([name]) => name).join(',')}\n`)
  let cursor: string | undefined
  let left = options.limit
  do {
    const page = await api.money.ledger({
      kind: options.kind,
      person: options.person,
      run_id: runId,
      schedule_id: options.schedule,
      created_after: options.since,
      created_before: options.until,
      limit: String(Math.min(left, PAGE)),
      cursor,
    })
    // A long one is not held in memory: it is written as it comes.
    if (options.json) screen.write(page.entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
    else if (options.csv) screen.write(page.entries.map(csvLine).join(''))
    else entries.push(...page.entries)
    left -= page.entries.length
    cursor = page.page_info.next_cursor
  } while (cursor !== undefined && left > 0)
  if (!options.json && !options.csv)
    screen.write(entries.length === 0 ? 'There is no such entry.\n' : renderLedger(entries, screen.style))
  return exitCodes.succeeded
}

export const renderLedger = (entries: readonly LedgerEntry[], { colours }: Style): string =>
  table(
    ['TIME', 'KIND', 'CREDITS', 'USD', 'WHO', 'RUN', 'FOR'],
    entries.map((entry) => [
      entry.occurred_at,
      entry.kind,
      String(entry.credits),
      usdText(entry.usd),
      clean(entry.person?.email ?? entry.person?.display_name ?? entry.person?.uid ?? ''),
      entry.run_id?.slice(0, 8) ?? '',
      clean(whatFor(entry)),
    ]),
    colours.dim,
  )

function whatFor({ kind, model, tokens, is_priced: isPriced, seconds, cpus, memory_mb: memory, note }: LedgerEntry) {
  if (kind === 'inference') {
    const all = tokens ? tokens.input + tokens.input_cache_read + tokens.input_cache_write + tokens.output : 0
    return `${model ?? 'a model'}, ${all} tokens${isPriced ? '' : ', no price'}`
  }
  if (kind === 'compute') return `${seconds} s of ${cpus} CPU, ${memory} MiB`
  return note ?? ''
}

const columns: readonly (readonly [string, (entry: LedgerEntry) => string | number | null | undefined])[] = [
  ['position', (entry) => entry.position],
  ['occurred_at', (entry) => entry.occurred_at],
  ['kind', (entry) => entry.kind],
  ['credits', (entry) => entry.credits],
  ['usd', (entry) => entry.usd],
  ['person', (entry) => entry.person?.uid],
  ['run_id', (entry) => entry.run_id],
  ['execution', (entry) => entry.execution],
  ['schedule_id', (entry) => entry.schedule_id],
  ['provider', (entry) => entry.provider],
  ['model', (entry) => entry.model],
  ['input_tokens', (entry) => entry.tokens?.input],
  ['cache_read_tokens', (entry) => entry.tokens?.input_cache_read],
  ['cache_write_tokens', (entry) => entry.tokens?.input_cache_write],
  ['output_tokens', (entry) => entry.tokens?.output],
  ['is_priced', (entry) => String(entry.is_priced)],
  ['seconds', (entry) => entry.seconds],
  ['cpus', (entry) => entry.cpus],
  ['memory_mb', (entry) => entry.memory_mb],
  ['note', (entry) => entry.note],
]

export const csvLine = (entry: LedgerEntry): string =>
  `${columns.map(([, of]) => csvField(String(of(entry) ?? ''))).join(',')}\n`

/** As RFC 4180 has it. A text that a spreadsheet would take for a formula is made one that it does not. */
function csvField(text: string): string {
  const plain = /^[=+@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain
}
