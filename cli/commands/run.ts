// `ambient run`: starts a run, follows it, and brings its work home.
import { callerVariable, typed } from '../../config.ts'
import { type BranchWish, checkBranchName, refuseCheckedOut } from '../bring-home.ts'
import { connect, isLocal } from '../connect.ts'
import { exitCodes, usageError } from '../exit.ts'
import { follow } from '../follow.ts'
import { gitOrNull } from '../git.ts'
import { quoted, readConcurrency, readEnv, readMetadata, readPrompt } from '../input.ts'
import { shortId } from '../render/summary.ts'
import { type NamedRepository, nameRepository } from '../repositories.ts'
import { createScreen } from '../screen.ts'
import { deliver } from './apply.ts'

export interface RunOptions {
  file?: string
  repo?: string[]
  ref?: string
  agent?: string
  model?: string
  reasoning?: string
  image?: string
  setup?: string[]
  env?: string[]
  permission?: 'allow' | 'ask' | 'deny'
  title?: string
  idle?: number
  maxTurn?: number
  maxRun?: number
  maxTranscript?: number
  maxDisk?: number
  pool?: string
  priority?: number
  concurrency?: string
  basePrompt?: string
  metadata?: string[]
  follow?: boolean
  detach?: boolean
  branch?: string | true
  into?: string
  force?: boolean
  patch?: string | true
  json?: boolean
}

/** `command` is what stood after `--`. */
export async function run(argument: string | undefined, options: RunOptions, command: string[]): Promise<number> {
  const screen = createScreen()
  const json = options.json === true
  // First: a prompt after --branch is taken for its name, and then the prompt is what seems to be missing.
  if (typeof options.branch === 'string') {
    const isPrompt = argument === undefined && options.file === undefined && command.length === 0
    await checkBranchName(options.branch, { isPrompt })
  }
  const prompt = await promptOf(argument, options, command)
  const following = willFollow(options, process.stdout.isTTY === true)
  const repositories = await repositoriesOf(options)
  if (typeof options.branch === 'string') await refuseBranch(options.branch, repositories, options.force === true)

  const api = connect()
  for (const { warning, local } of repositories) {
    if (warning) screen.note(`! ${warning}`)
    if (local && !isLocal(api.url)) screen.note(`! ${local} is on this machine: a host elsewhere cannot clone it.`)
  }
  const started = await api.start(runRequest(prompt, options, repositories, command))
  const current = await api.get(started.run_id)
  const id = shortId(current)
  if (json) screen.write(`${JSON.stringify(current)}\n`)
  for (const warning of started.warnings ?? []) screen.note(`! ${warning}`)

  if (!following) {
    if (!json) {
      screen.write(`${started.run_id}\n`)
      if (started.at_capacity) screen.note(`The run waits in line. Its place: ${typed} runs show ${id}`)
      screen.note(`Started. Follow it: ${typed} logs ${id} --follow`)
    }
    return exitCodes.succeeded
  }
  if (!json) {
    const { colours } = screen.style
    const harness = (current.agent_config.harness ?? {}) as { type?: string }
    const agent = harness.type && harness.type !== 'oz' ? ` · ${harness.type}` : ''
    screen.write(
      `${colours.bold(`Run ${id}`)}${agent}${current.demo ? ' · demo: a scripted model, no model key is set' : ''}\n`,
    )
    // Its place comes with the transcript.
    if (started.at_capacity) screen.write(colours.dim('The run waits in line.\n'))
  }
  const followed = await follow({ api, screen, run: current, after: 0, json, bringsHome: options.branch !== undefined })
  if (options.branch === undefined && options.patch === undefined) return followed.exitCode
  if (followed.exitCode === exitCodes.interrupted || followed.exitCode === exitCodes.blocked) {
    screen.note(`Nothing is brought home yet. When the run has ended: ${typed} apply ${id} --branch`)
    return followed.exitCode
  }
  const branch: BranchWish | null =
    options.branch === undefined
      ? null
      : {
          name: options.branch === true ? `ambient/${id}` : options.branch,
          into: options.into ?? null,
          force: options.force === true,
        }
  await deliver(api, screen, started.run_id, { branch, patch: options.patch ?? null, json })
  return followed.exitCode
}

/** On a terminal, and wherever something was asked for that only the end of the run can give. */
export function willFollow(options: RunOptions, isTerminal: boolean): boolean {
  const needsEnd = options.branch !== undefined || options.patch !== undefined
  if (options.follow === false || options.detach) {
    if (needsEnd) {
      throw usageError(
        '--branch and --patch bring home the result, which is there at the end: they need --follow.',
        `Later: ${typed} apply <id> --branch`,
      )
    }
    return false
  }
  return options.follow ?? (needsEnd || options.json === true || isTerminal)
}

async function promptOf(argument: string | undefined, options: RunOptions, command: string[]): Promise<string> {
  if (options.agent === 'command') {
    if (command.length === 0)
      throw usageError(
        '--agent command needs the command, after two dashes.',
        `${typed} run --agent command -- make test`,
      )
    if (argument === undefined && options.file === undefined) return command.map(quoted).join(' ')
  } else if (command.length > 0) {
    // `ambient run -- "-v fails"`: two dashes also end the options before a prompt.
    if (command.length > 1 || argument !== undefined) {
      throw usageError('What follows two dashes is the command of --agent command.', `Quote a prompt: ${typed} run "…"`)
    }
    return command[0] ?? ''
  }
  const prompt = await readPrompt(argument, options.file)
  if (prompt === null) throw usageError('What shall the agent do?', `${typed} run "Fix the failing test" --repo .`)
  return prompt
}

async function repositoriesOf(options: RunOptions): Promise<NamedRepository[]> {
  if (options.ref !== undefined && options.repo?.length !== 1) {
    throw usageError('--ref belongs to a single --repo.', 'With several, write --repo <url>#<ref>.')
  }
  return Promise.all((options.repo ?? []).map((repository) => nameRepository(repository, options.ref)))
}

/** What would fail at the end of the run fails before it. */
async function refuseBranch(branch: string, repositories: readonly NamedRepository[], force: boolean): Promise<void> {
  for (const { local } of repositories) {
    if (local) await refuseCheckedOut(branch, local)
    if (
      local &&
      !force &&
      (await gitOrNull(['rev-parse', '--verify', '--quiet', `refs/heads/${branch}`], { cwd: local })) !== null
    ) {
      throw usageError(`The branch ${branch} is already in ${local}.`, 'Take another name, or --force to replace it.')
    }
  }
}

export function runRequest(
  prompt: string,
  options: RunOptions,
  repositories: readonly NamedRepository[],
  command: string[],
) {
  return {
    prompt,
    title: options.title,
    config: {
      harness: {
        type: options.agent,
        model_id: options.model,
        reasoning_level: options.reasoning,
        command: options.agent === 'command' ? command : undefined,
      },
      permission_policy: options.permission,
      idle_timeout_minutes: options.idle,
      max_turn_minutes: options.maxTurn,
      max_run_minutes: options.maxRun,
      max_transcript_mb: options.maxTranscript,
      max_disk_gb: options.maxDisk,
      worker_host: options.pool,
      base_prompt: options.basePrompt,
    },
    environment: {
      image: options.image,
      repos: repositories.map(({ repository }) => repository),
      setup_commands: options.setup,
      env: options.env && readEnv(options.env, callerVariable),
    },
    metadata: options.metadata && readMetadata(options.metadata),
    priority: options.priority,
    concurrency: options.concurrency && readConcurrency(options.concurrency),
  }
}
