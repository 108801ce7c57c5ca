// `ambient fork`: another run, from where one was after one of its turns. `ambient checkpoints`: where that can be.
import { typed } from '../../config.ts'
import type { CheckpointItem } from '../../domain/checkpoint.ts'
import { checkBranchName } from '../bring-home.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findRun, quoted, readMetadata, readPrompt } from '../input.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, duration, size } from '../render/text.ts'
import { createScreen } from '../screen.ts'
import { type BeginOptions, begin } from './begin.ts'
import { willFollow } from './run.ts'

export interface ForkOptions extends BeginOptions {
  checkpoint?: number
  session?: 'continue' | 'fresh'
  file?: string
  agent?: string
  model?: string
  reasoning?: string
  permission?: 'allow' | 'ask' | 'deny'
  title?: string
  idle?: number
  pool?: string
  priority?: number
  metadata?: string[]
  follow?: boolean
  detach?: boolean
}

export async function fork(given: string, argument: string | undefined, options: ForkOptions): Promise<number> {
  const screen = createScreen()
  if (typeof options.branch === 'string') await checkBranchName(options.branch, { isPrompt: argument === undefined })
  const prompt = await readPrompt(argument, options.file)
  if (prompt === null)
    throw usageError('What shall the agent do from there?', `${typed} fork ${given} "Try it another way"`)
  const following = willFollow(options, process.stdout.isTTY === true)
  const api = connect()
  const body = forkRequest(await findRun(api, given), prompt, options)
  return begin(api, screen, body, { ...options, following })
}

function forkRequest(runId: string, prompt: string, options: ForkOptions) {
  const harness = { type: options.agent, model_id: options.model, reasoning_level: options.reasoning }
  return {
    prompt,
    title: options.title,
    fork_from: { run_id: runId, checkpoint: options.checkpoint, session: options.session },
    config: {
      ...(Object.values(harness).some((value) => value !== undefined) && { harness }),
      permission_policy: options.permission,
      idle_timeout_minutes: options.idle,
      worker_host: options.pool,
    },
    metadata: options.metadata && readMetadata(options.metadata),
    priority: options.priority,
  }
}

export const CHECKPOINTS_LIMIT = 20

export interface CheckpointsOptions {
  limit: number
  cursor?: string
  json?: boolean
}

export async function checkpoints(given: string, options: CheckpointsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const runId = await findRun(api, given)
  const page = await api.checkpoints(runId, { limit: options.limit, cursor: options.cursor })
  if (options.json) {
    screen.write(`${JSON.stringify(page)}\n`)
    return exitCodes.succeeded
  }
  if (page.checkpoints.length === 0) {
    screen.write('The run has no checkpoint. One is made after each turn, and kept as long as its workspace.\n')
    return exitCodes.succeeded
  }
  screen.write(renderCheckpoints(page.checkpoints, screen.style, Date.now()))
  const { has_next_page: hasMore, next_cursor: cursor } = page.page_info
  if (hasMore) {
    const limit = options.limit === CHECKPOINTS_LIMIT ? '' : ` --limit ${options.limit}`
    screen.note(`There are more: ${typed} checkpoints ${given}${limit} --cursor ${quoted(String(cursor))}`)
  }
  return exitCodes.succeeded
}

function renderCheckpoints(list: readonly CheckpointItem[], { colours }: Style, now: number): string {
  // Commands have none.
  const hasSessions = list.some(({ session }) => session)
  const rows = list.map((item) => [
    String(item.number),
    duration(Math.max(0, now - Date.parse(item.taken_at)), 1),
    String(item.execution),
    item.files_changed === null ? '' : String(item.files_changed),
    size(item.bytes),
    item.repositories.map(({ branch, head_commit: head }) => `${branch ?? ''}@${head?.slice(0, 10) ?? ''}`).join(' '),
    [
      ...(item.newest ? ['newest'] : []),
      ...(item.late ? ['late'] : []),
      ...(item.session || !hasSessions ? [] : ['no session']),
      ...(item.left_out.length > 0 ? [`without ${item.left_out.length} of its files`] : []),
    ].join(', '),
  ])
  const heads = ['NUMBER', 'AGE', 'EXECUTION', 'CHANGED', 'SIZE', 'HEAD', '']
  return table(
    heads,
    rows.map((cells) => cells.map(clean)),
    colours.dim,
  )
}
