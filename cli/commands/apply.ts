// `ambient apply`, and the end of `ambient run --branch|--patch`: the work comes home.
import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Api } from '../api/client.ts'
import { type BranchWish, bringBranch, checkBranchName } from '../bring-home.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findRun } from '../input.ts'
import { patchedFiles, renderPatch } from '../patch.ts'
import { clean, plural } from '../render/text.ts'
import { createScreen, type Screen } from '../screen.ts'

export interface ApplyOptions {
  branch?: string | true
  patch?: string | true
  into?: string
  force?: boolean
  json?: boolean
}

export async function apply(given: string, options: ApplyOptions): Promise<ExitCode> {
  if (typeof options.branch === 'string') await checkBranchName(options.branch, { isPrompt: false })
  const screen = createScreen()
  const api = connect()
  const runId = await findRun(api, given)
  const branch =
    options.branch === undefined && options.patch !== undefined
      ? null
      : {
          name: typeof options.branch === 'string' ? options.branch : `ambient/${runId.slice(0, 8)}`,
          into: options.into ?? null,
          force: options.force === true,
        }
  const changed = await deliver(api, screen, runId, {
    branch,
    patch: options.patch ?? null,
    json: options.json === true,
  })
  if (!changed) throw usageError('The run has changed nothing that could be brought home.')
  return exitCodes.succeeded
}

/** Brings home what was asked for, and says what and where. False when there was nothing. */
export async function deliver(
  api: Api,
  screen: Screen,
  runId: string,
  wish: { branch: BranchWish | null; patch: string | true | null; json: boolean },
): Promise<boolean> {
  let changed = false
  if (wish.branch) {
    for (const home of await bringBranch(api, runId, wish.branch)) {
      changed ||= home.branch !== null
      if (wish.json) screen.write(`${JSON.stringify(home)}\n`)
      else if (home.branch === null) screen.write(`${clean(home.path)}: ${clean(home.reason)}.\n`)
      else {
        const { colours } = screen.style
        screen.write(
          `${colours.green('✓')} ${clean(home.path)}: branch ${colours.bold(home.branch)} in ${home.repository} (${home.commit.slice(0, 10)})\n` +
            `  ${colours.dim(`git -C ${home.repository} log -p HEAD..${home.branch}`)}\n`,
        )
        if (home.note) screen.write(`  ${clean(home.note)}\n`)
      }
    }
  }
  if (wish.patch !== null) changed = (await deliverPatch(api, screen, runId, wish.patch, wish.json)) || changed
  return changed
}

async function deliverPatch(
  api: Api,
  screen: Screen,
  runId: string,
  file: string | true,
  json: boolean,
): Promise<boolean> {
  const patch = await api.patch(runId)
  const text = patch.toString('utf8')
  if (file === true || file === '-') {
    if (json) screen.write(`${JSON.stringify({ patch: text })}\n`)
    else if (screen.style.width !== null) screen.write(renderPatch(text, screen.style))
    else process.stdout.write(patch)
  } else {
    const path = resolve(file)
    await writeFile(path, patch).catch((error: NodeJS.ErrnoException) => {
      throw usageError(`The patch cannot be written to ${path} (${error.code}).`)
    })
    const files = patchedFiles(text).length
    if (json) screen.write(`${JSON.stringify({ patch_file: path, files })}\n`)
    else screen.write(`${screen.style.colours.green('✓')} Patch of ${plural(files, 'file')} in ${path}\n`)
  }
  return patch.length > 0
}
