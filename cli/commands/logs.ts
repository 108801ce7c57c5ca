// `ambient logs`: the transcript so far, or as it comes.
import { isTerminal } from '../../domain/state.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import { follow } from '../follow.ts'
import { findRun } from '../input.ts'
import { addToTotals, noTotals, renderSummary, type Totals } from '../render/summary.ts'
import { createRenderer } from '../render.ts'
import { createScreen } from '../screen.ts'

const PAGE = 500

export interface LogsOptions {
  follow?: boolean
  json?: boolean
  after: number
}

export async function logs(given: string, options: LogsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const json = options.json === true
  const api = connect()
  const run = await api.get(await findRun(api, given))
  if (options.follow) {
    if (json) screen.write(`${JSON.stringify(run)}\n`)
    return (await follow({ api, screen, run, after: options.after, json })).exitCode
  }

  const renderer = createRenderer(screen.style)
  let totals: Totals = { ...noTotals, isPart: options.after > 0 }
  let after = options.after
  for (;;) {
    const page = await api.events(run.run_id, after, PAGE)
    for (const event of page.events) {
      totals = addToTotals(totals, event)
      screen.write(json ? `${JSON.stringify(event)}\n` : renderer.push(event))
      after = event.sequence
    }
    if (!page.page_info.has_next_page || page.events.length === 0) break
  }
  if (json) return exitCodes.succeeded
  screen.write(renderer.end())
  // The run may have gone on while its transcript was read.
  const now = isTerminal(run.state) ? run : await api.get(run.run_id)
  screen.write(renderSummary(now, totals, screen.style, { transcript: true }))
  return exitCodes.succeeded
}
