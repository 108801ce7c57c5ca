// `ambient environments`: the stored environments.
import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import { callerVariable, typed } from '../../config.ts'
import type { EnvironmentItem } from '../../domain/environment.ts'
import { connect } from '../connect.ts'
import { CliError, type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import { readEnv } from '../input.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, duration, oneLine } from '../render/text.ts'
import { nameRepository } from '../repositories.ts'
import { createScreen, type Screen } from '../screen.ts'
import { renderBuilds } from './builds.ts'

export interface EnvironmentOptions {
  file?: string
  name?: string
  description?: string
  repo?: string[]
  image?: string
  setup?: string[]
  env?: string[]
  unsetEnv?: string[]
  allowHost?: string[]
  devcontainer?: boolean
  prepare?: boolean
  wait?: boolean
  rebuildHours?: number
  runLimit?: number
  maxTurn?: number
  maxRun?: number
  maxTranscript?: number
  maxDisk?: number
  idle?: number
  json?: boolean
}

export async function environments({ json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const list = await connect().environments.list()
  if (json) screen.write(`${JSON.stringify({ environments: list })}\n`)
  else if (list.length === 0)
    screen.write(`No environment is stored. Make one: ${typed} environments create <name> --repo <url>\n`)
  else screen.write(renderEnvironments(list, screen.style, Date.now()))
  return exitCodes.succeeded
}

export function renderEnvironments(list: readonly EnvironmentItem[], { colours }: Style, now: number): string {
  const rows = list.map((item) => {
    const limit = item.config.run_limit
    const used = item.last_task_run_timestamp
    return [
      clean(item.config.name),
      item.uid,
      `${item.runs_at_work}${typeof limit === 'number' ? `/${limit}` : ''}`,
      built(item),
      used === undefined ? 'never' : `${duration(Math.max(0, now - Date.parse(used)), 1)} ago`,
    ]
  })
  return table(['NAME', 'UID', 'RUNS', 'BUILT', 'USED'], rows, colours.dim, (cell, column, row) =>
    column === 3 && list[row]?.setup_failed ? colours.red(cell) : cell,
  )
}

/** How the newest builds of its hosts stand: "2 ready, 1 failed". */
function built({ builds, config }: EnvironmentItem): string {
  if (config.prepare === false) return 'not built ahead'
  if (builds.length === 0) return 'nowhere'
  const states = Map.groupBy(builds, ({ state }) => state.toLowerCase())
  return [...states].map(([state, those]) => `${those.length} ${state}`).join(', ')
}

export async function show(given: string, { json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const item = await findEnvironment(connect(), given)
  screen.write(json ? `${JSON.stringify(item)}\n` : renderEnvironment(item, screen.style, Date.now()))
  return exitCodes.succeeded
}

export function renderEnvironment(item: EnvironmentItem, style: Style, now: number): string {
  const config = item.config as EnvironmentItem['config'] & {
    image?: string
    repos?: { url: string; ref?: string }[]
    env?: Record<string, string>
    egress?: { allow?: string[] } | null
    [field: string]: unknown
  }
  const facts: [string, unknown][] = [
    ['Environment', item.uid],
    ['Name', config.name],
    ['Description', oneLine(config.description, 200)],
    ['Image', config.image],
    ...(config.repos ?? []).map(({ url, ref }): [string, unknown] => ['Repository', url + (ref ? ` (${ref})` : '')]),
    ...config.setup_commands.map((command): [string, unknown] => ['Set-up', oneLine(command, 100)]),
    ['Variables', Object.keys(config.env ?? {}).join(', ')],
    ['Reaches', config.egress?.allow?.join(', ')],
    ['Without', config.devcontainer === false ? 'devcontainer.json of the repositories' : null],
    [
      'Built',
      config.prepare === false ? 'not ahead: every run sets itself up' : `again after ${config.rebuild_hours} h`,
    ],
    ['Unbuilt', config.prepare !== false && config.wait_for_build ? 'runs wait for the build' : null],
    ['Runs', `${item.runs_at_work} at work${config.run_limit == null ? '' : `, ${config.run_limit} at most`}`],
    ['Turn', config.max_turn_minutes == null ? null : `${config.max_turn_minutes} min at most`],
    ['Run', config.max_run_minutes == null ? null : `${config.max_run_minutes} min at most`],
    ['Transcript', config.max_transcript_mb == null ? null : `${config.max_transcript_mb} MiB at most`],
    ['Disk', config.max_disk_gb == null ? null : `${config.max_disk_gb} GiB at most`],
    ['Kept for', config.idle_timeout_minutes == null ? null : `${config.idle_timeout_minutes} min after its work`],
    ['Changed', item.last_updated],
    ['Last run', item.last_task_created && `${item.last_task_created.id} ${item.last_task_created.state}`],
  ]
  const text = facts
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `${style.colours.dim(name.padEnd(12))}${clean(String(value))}\n`)
    .join('')
  return item.builds.length === 0 ? text : `${text}\n${renderBuilds(item.builds, style, now)}`
}

export async function create(name: string | undefined, options: EnvironmentOptions): Promise<ExitCode> {
  const screen = createScreen()
  const base = options.file === undefined ? {} : await readConfig(options.file)
  const config = await withOptions(base, name === undefined ? options : { ...options, name })
  if (config.name === undefined)
    throw usageError('An environment needs a name.', `${typed} environments create <name> --repo <url>`)
  return tell(screen, await connect().environments.create(config), options, 'is stored')
}

export async function update(given: string, options: EnvironmentOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, config: shown } = await findEnvironment(api, given)
  const { docker_image: _image, github_repos: _repos, ...config } = shown
  const base = options.file === undefined ? config : { name: config.name, ...(await readConfig(options.file)) }
  return tell(screen, await api.environments.replace(uid, await withOptions(base, options)), options, 'is changed')
}

function tell(screen: Screen, item: EnvironmentItem, { json }: EnvironmentOptions, what: string): ExitCode {
  for (const warning of item.warnings ?? []) screen.note(`! ${warning}`)
  if (json) {
    screen.write(`${JSON.stringify(item)}\n`)
    return exitCodes.succeeded
  }
  const name = clean(item.config.name)
  screen.write(`${name} ${what}: ${item.uid}\n`)
  const goesOn = item.builds.some(({ finished_at: finished }) => finished === null)
  screen.note(
    goesOn
      ? `It is being built. Watch: ${typed} environments log ${item.uid} --follow`
      : `Work in it: ${typed} run "…" --environment ${item.uid}`,
  )
  return exitCodes.succeeded
}

export async function remove(given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, config } = await findEnvironment(api, given)
  await api.environments.remove(uid)
  screen.write(`${clean(config.name)} is deleted.\n`)
  return exitCodes.succeeded
}

type Config = Record<string, unknown>

async function readConfig(file: string): Promise<Config> {
  const text =
    file === '-'
      ? await readAll(process.stdin)
      : await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
          throw usageError(`The file ${file} cannot be read (${error.code}).`)
        })
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch (error) {
    throw new CliError(exitCodes.usage, `${file} is not JSON: ${(error as Error).message}`, { cause: error })
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config))
    throw usageError(`${file} is not an environment: it holds no JSON object.`)
  return { ...config }
}

/** What options name takes the place of what is there; variables join those that are. */
async function withOptions(base: Config, options: EnvironmentOptions): Promise<Config> {
  const { runLimit, unsetEnv = [] } = options
  const repositories = options.repo && (await Promise.all(options.repo.map((repository) => nameRepository(repository))))
  const env = { ...(base.env as Record<string, string> | undefined), ...readEnv(options.env ?? [], callerVariable) }
  for (const name of unsetEnv) {
    if (!(name in env)) throw usageError(`--unset-env ${name}: it has no such variable.`)
    delete env[name]
  }
  const given: Config = {
    name: options.name,
    description: options.description,
    repos: repositories?.map(({ repository }) => repository),
    image: options.image,
    setup_commands: options.setup,
    egress: options.allowHost && { allow: options.allowHost },
    devcontainer: options.devcontainer,
    prepare: options.prepare,
    wait_for_build: options.wait,
    rebuild_hours: options.rebuildHours,
    run_limit: runLimit === 0 ? null : runLimit,
    max_turn_minutes: options.maxTurn,
    max_run_minutes: options.maxRun,
    max_transcript_mb: options.maxTranscript,
    max_disk_gb: options.maxDisk,
    idle_timeout_minutes: options.idle,
  }
  const named = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  return { ...base, ...named, ...(Object.keys(env).length > 0 || 'env' in base ? { env } : {}) }
}
