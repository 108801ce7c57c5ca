// `ambient run`: starts a run, follows it, and brings its work home.
import { callerVariable, typed } from '../../config.ts'
import type { McpServer } from '../../domain/mcp/server.ts'
import type { CommitIdentity } from '../../domain/run.ts'
import { checkBranchName, refuseCheckedOut } from '../bring-home.ts'
import { connect, isLocal } from '../connect.ts'
import { usageError } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import { findServiceAccount } from '../find-service-account.ts'
import { gitOrNull } from '../git.ts'
import { quoted, readConcurrency, readEnv, readMetadata, readPrompt, savedPromptOf } from '../input.ts'
import { type NamedRepository, nameRepository } from '../repositories.ts'
import { createScreen } from '../screen.ts'
import { begin } from './begin.ts'
import { namedServers } from './mcp-servers.ts'

export interface RunOptions {
  file?: string
  repo?: string[]
  ref?: string
  depth?: number
  pushBranch?: string
  pullRequest?: boolean
  author?: string | false
  environment?: string
  agent?: string
  model?: string
  reasoning?: string
  image?: string
  allowHost?: string[]
  setup?: string[]
  env?: string[]
  devcontainer?: boolean
  permission?: 'allow' | 'ask' | 'deny'
  title?: string
  idle?: number
  maxTurn?: number
  maxRun?: number
  maxTranscript?: number
  maxDisk?: number
  budget?: number
  treeBudget?: number
  mcp?: string[]
  secret?: string[]
  /** False: none. */
  secrets?: boolean
  pool?: string
  priority?: number
  concurrency?: string
  basePrompt?: string
  profile?: string
  savedPrompt?: string
  arg?: string[]
  skill?: string[]
  metadata?: string[]
  personal?: boolean
  as?: string
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
  // First: a prompt after --branch is taken for its name, and then the prompt is what seems to be missing.
  if (typeof options.branch === 'string') {
    const isPrompt = argument === undefined && options.file === undefined && command.length === 0
    await checkBranchName(options.branch, { isPrompt })
  }
  const prompt = await promptOf(argument, options, command)
  refuseBesideEnvironment(options)
  const following = willFollow(options, process.stdout.isTTY === true)
  const repositories = await repositoriesOf(options)
  const author = await authorOf(options.author, repositories)
  if (typeof options.branch === 'string') await refuseBranch(options.branch, repositories, options.force === true)

  const api = connect()
  for (const { warning, local } of repositories) {
    if (warning) screen.note(`! ${warning}`)
    if (local && !isLocal(api.url)) screen.note(`! ${local} is on this machine: a host elsewhere cannot clone it.`)
  }
  const environmentId =
    options.environment === undefined ? undefined : (await findEnvironment(api, options.environment)).uid
  const mcpServers = options.mcp && (await namedServers(api, options.mcp))
  const serviceAccount = options.as === undefined ? undefined : (await findServiceAccount(api, options.as)).uid
  const body = runRequest(
    prompt,
    { ...options, serviceAccount, environmentId, author, mcpServers },
    repositories,
    command,
  )
  return begin(api, screen, body, { ...options, following })
}

/** On a terminal, and wherever something was asked for that only the end of the run can give. */
export function willFollow(
  options: Pick<RunOptions, 'branch' | 'patch' | 'follow' | 'detach' | 'json'>,
  isTerminal: boolean,
): boolean {
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

async function promptOf(
  argument: string | undefined,
  options: RunOptions,
  command: string[],
): Promise<string | undefined> {
  if (options.savedPrompt !== undefined) {
    if (argument !== undefined || options.file !== undefined)
      throw usageError('A prompt and --saved-prompt cannot be given together.')
    return undefined
  }
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
  if (prompt === null && options.skill !== undefined) return undefined
  if (prompt === null) throw usageError('What shall the agent do?', `${typed} run "Fix the failing test" --repo .`)
  return prompt
}

/** They say what a stored environment says for all of its runs. */
function refuseBesideEnvironment(options: RunOptions): void {
  const { repo, depth, pushBranch, pullRequest, image, setup, env, allowHost } = options
  const given = {
    repo,
    depth,
    'push-branch': pushBranch,
    'pull-request': pullRequest,
    image,
    setup,
    env,
    'allow-host': allowHost,
    'no-devcontainer': options.devcontainer === false,
  }
  const beside = Object.entries(given).find(([, value]) => value)
  if (options.environment === undefined || !beside) return
  throw usageError(
    `--${beside[0]} cannot be given together with --environment, which says it itself.`,
    `Change the environment: ${typed} environments update ${quoted(options.environment)} --${beside[0]} …`,
  )
}

async function repositoriesOf(options: RunOptions): Promise<NamedRepository[]> {
  if (options.ref !== undefined && options.repo?.length !== 1) {
    throw usageError('--ref belongs to a single --repo.', 'With several, write --repo <url>#<ref>.')
  }
  const { depth, pushBranch, pullRequest, repo = [] } = options
  const needing = { depth, 'push-branch': pushBranch, 'pull-request': pullRequest }
  const without = Object.entries(needing).find(([, value]) => value !== undefined)
  if (without && repo.length === 0) throw usageError(`--${without[0]} needs a --repo.`)
  if (pushBranch !== undefined) await checkBranchName(pushBranch, { isPrompt: false })
  const named = await Promise.all(repo.map((repository) => nameRepository(repository, options.ref)))
  return named.map((one) => ({
    ...one,
    repository: {
      ...one.repository,
      ...(depth && { depth }),
      ...(pushBranch && { push_branch: pushBranch }),
      ...(pullRequest && { pull_request: { draft: true } }),
    },
  }))
}

/** In whose name the agent commits: as git has it for the caller, unless told otherwise. */
async function authorOf(
  given: string | false | undefined,
  repositories: readonly NamedRepository[],
): Promise<CommitIdentity | undefined> {
  if (given === false) return undefined
  if (given !== undefined) {
    const [, name, email] = /^\s*([^<>]*[^<>\s])\s*<\s*([^<>\s]+)\s*>\s*$/.exec(given) ?? []
    if (name === undefined || email === undefined) {
      throw usageError(
        `--author ${quoted(given)} is no name with an address.`,
        '--author "Ada Lovelace <ada@example.com>"',
      )
    }
    return { name, email }
  }
  const cwd = repositories.find(({ local }) => local !== null)?.local ?? process.cwd()
  const [name, email] = await Promise.all(
    ['user.name', 'user.email'].map((key) => gitOrNull(['config', '--get', key], { cwd })),
  )
  return name && email ? { name, email } : undefined
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
  prompt: string | undefined,
  {
    author,
    ...options
  }: Omit<RunOptions, 'author'> & {
    environmentId?: string | undefined
    serviceAccount?: string | undefined
    author?: CommitIdentity | undefined
    mcpServers?: Record<string, McpServer> | undefined
  },
  repositories: readonly NamedRepository[],
  command: string[],
) {
  return {
    prompt,
    saved_prompt: savedPromptOf(options),
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
      budget: options.budget === undefined ? undefined : { usd: options.budget },
      tree_budget: options.treeBudget === undefined ? undefined : { usd: options.treeBudget },
      worker_host: options.pool,
      base_prompt: options.basePrompt,
      profile: options.profile,
      skills: options.skill,
      environment_id: options.environmentId,
      mcp_servers: options.mcpServers,
      secrets: options.secrets === false ? [] : options.secret,
      commit_identity: author,
    },
    environment:
      options.environmentId === undefined
        ? {
            image: options.image,
            egress: options.allowHost && { allow: options.allowHost },
            repos: repositories.map(({ repository }) => repository),
            setup_commands: options.setup,
            env: options.env && readEnv(options.env, callerVariable),
            devcontainer: options.devcontainer === false ? false : undefined,
          }
        : undefined,
    metadata: options.metadata && readMetadata(options.metadata),
    priority: options.priority,
    team: options.personal ? false : undefined,
    agent_identity_uid: options.serviceAccount,
    concurrency: options.concurrency && readConcurrency(options.concurrency),
  }
}
