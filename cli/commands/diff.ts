// `ambient diff`: what the run has changed.
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import { findRun } from '../input.ts'
import { patchedFiles, renderPatch, renderStat } from '../patch.ts'
import { changesText } from '../render/summary.ts'
import { clean } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface DiffOptions {
  repository?: string
  stat?: boolean
  json?: boolean
}

export async function diff(given: string, options: DiffOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const runId = await findRun(api, given)
  if (options.json) {
    const repositories = await api.result(runId)
    const wanted = repositories.filter(({ path }) => options.repository === undefined || path === options.repository)
    screen.write(`${JSON.stringify({ repositories: wanted })}\n`)
    return exitCodes.succeeded
  }
  if (!options.stat) {
    const patch = await api.patch(runId, options.repository)
    if (screen.style.width === null) process.stdout.write(patch)
    else if (patch.length === 0) screen.note('Nothing was changed.')
    else screen.write(renderPatch(patch.toString('utf8'), screen.style))
    return exitCodes.succeeded
  }
  for (const result of await api.result(runId)) {
    if (options.repository !== undefined && result.path !== options.repository) continue
    const { files_changed, insertions, deletions } = result
    const totals = { filesChanged: files_changed, insertions, deletions, commits: result.commits.length }
    screen.write(`${screen.style.colours.bold(clean(result.path))}: ${changesText(totals)}\n`)
    if (files_changed > 0) {
      screen.write(renderStat(patchedFiles((await api.patch(runId, result.path)).toString('utf8')), screen.style))
    }
    for (const commit of result.commits) screen.write(`  ${commit.commit.slice(0, 10)}  ${clean(commit.subject)}\n`)
    if (result.note) screen.write(`  ${clean(result.note)}\n`)
  }
  return exitCodes.succeeded
}
