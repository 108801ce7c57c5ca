// `ambient schedules`: runs that begin by themselves.
import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import { typed } from '../../config.ts'
import { usdText } from '../../domain/money/text.ts'
import type { OverlapPolicy, ScheduleItem, ScheduleSlot } from '../../domain/schedule.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import { findNamed } from '../find-named.ts'
import { findServiceAccount } from '../find-service-account.ts'
import { quoted, readMetadata, savedPromptOf } from '../input.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, duration, oneLine } from '../render/text.ts'
import { createScreen, type Screen } from '../screen.ts'

export interface ScheduleOptions {
  file?: string
  name?: string
  cron?: string
  timeZone?: string
  prompt?: string
  savedPrompt?: string
  arg?: string[]
  profile?: string
  skill?: string[]
  environment?: string
  agent?: string
  model?: string
  as?: string
  overlap?: OverlapPolicy
  catchUp?: number
  jitter?: number
  pauseAfter?: number
  metadata?: string[]
  personal?: boolean
  paused?: boolean
  json?: boolean
}

interface JsonOption {
  json?: boolean
}

export async function schedules({ json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const list = await connect().schedules.list()
  if (json) screen.write(`${JSON.stringify({ schedules: list })}\n`)
  else if (list.length === 0)
    screen.write(`There is no schedule. Make one: ${typed} schedules create <name> --cron "0 9 * * *" --prompt "…"\n`)
  else screen.write(renderSchedules(list, screen.style, Date.now()))
  return exitCodes.succeeded
}

export function renderSchedules(list: readonly ScheduleItem[], { colours }: Style, now: number): string {
  const rows = list.map(({ name, id, cron_schedule: cron, time_zone: zone, enabled, history }) => [
    clean(name),
    id,
    `${cron} ${zone}`,
    enabled ? 'on' : 'paused',
    history.next_run === null ? '-' : `in ${duration(Math.max(0, Date.parse(history.next_run) - now), 1)}`,
    history.last_ran === null ? 'never' : `${duration(Math.max(0, now - Date.parse(history.last_ran)), 1)} ago`,
  ])
  const trouble = (row: number) => list[row]?.paused_reason ?? list[row]?.last_spawn_error ?? null
  const text = table(['NAME', 'ID', 'TIMES', 'STATE', 'NEXT', 'LAST'], rows, colours.dim, (cell, column, row) =>
    column === 3 && trouble(row) !== null ? colours.red(cell) : cell,
  )
  const notes = list.flatMap(({ name }, row) => {
    const why = trouble(row)
    return why === null ? [] : [`! ${clean(name)}: ${oneLine(why, 200)}\n`]
  })
  return text + notes.join('')
}

export async function show(given: string, { json, limit }: JsonOption & { limit: number }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const item = await findSchedule(api, given)
  const { slots } = await api.schedules.runs(item.id, { limit })
  screen.write(json ? `${JSON.stringify({ ...item, slots })}\n` : renderSchedule(item, slots, screen.style))
  return exitCodes.succeeded
}

function savedText({ name, uid, version, arguments: values }: NonNullable<ScheduleItem['saved_prompt']>): string {
  const given = Object.entries(values).map(([argument, value]) => `${argument}=${oneLine(value, 60)}`)
  return [name ?? uid, version && `version ${version}`, ...given].filter(Boolean).join(', ')
}

export function renderSchedule(item: ScheduleItem, slots: readonly ScheduleSlot[], style: Style): string {
  const after = item.pause_after_failures
  const facts: [string, unknown][] = [
    ['Schedule', item.id],
    ['Name', item.name],
    ['Times', `${item.cron_schedule} (${item.time_zone})`],
    ['State', item.enabled ? 'on' : (item.paused_reason ?? 'paused')],
    ['Next', item.history.next_run],
    ['Last', item.history.last_ran],
    ['Prompt', oneLine(item.prompt, 200)],
    ['Saved', item.saved_prompt && savedText(item.saved_prompt)],
    ['Environment', item.environment?.name],
    ['Profile', item.agent_config?.profile],
    ['Agent', item.agent_uid],
    ['Overlap', item.overlap_policy],
    ['Catch-up', duration(item.catchup_window_seconds * 1_000)],
    ['Jitter', item.jitter_seconds === 0 ? null : `up to ${duration(item.jitter_seconds * 1_000)}`],
    ['Pauses', after === null ? null : after === 0 ? 'never by itself' : `after ${after} failures in a row`],
    ['Spent', item.spent.total.usd === 0 ? null : usdText(item.spent.total.usd)],
    ['Failures', item.failures_in_a_row === 0 ? null : `${item.failures_in_a_row} in a row`],
    ['Error', item.last_spawn_error],
    ['Made by', item.created_by.display_name],
    ['Personal', item.scope.type === 'User' ? 'yes' : null],
  ]
  const text = facts
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `${style.colours.dim(name.padEnd(12))}${clean(String(value))}\n`)
    .join('')
  return slots.length === 0 ? text : `${text}\n${renderSlots(slots, style)}`
}

function renderSlots(slots: readonly ScheduleSlot[], { colours }: Style): string {
  const rows = slots.map(({ scheduled_time: time, kind, outcome, reason, run }) => [
    time,
    kind,
    run?.state ?? outcome,
    run?.run_id.slice(0, 8) ?? oneLine(reason ?? '', 100),
  ])
  return table(['TIME', 'WHY', 'OUTCOME', 'RUN'], rows, colours.dim)
}

export async function create(
  name: string | undefined,
  options: ScheduleOptions,
  command: readonly string[],
): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const base = options.file === undefined ? {} : await readBody(options.file)
  const named = name === undefined ? options : { ...options, name }
  const body = await withOptions(api, base, named, command)
  // A command needs no task: what it is given is its own.
  if (body.prompt === undefined && body.saved_prompt === undefined && command.length > 0)
    body.prompt = command.map(quoted).join(' ')
  const { skills, skill_spec: spec } = (body.agent_config ?? {}) as Body
  const hasOther = body.saved_prompt != null || spec != null || (Array.isArray(skills) && skills.length > 0)
  for (const [field, option] of [
    ['name', 'a name'],
    ['cron_schedule', 'its times: --cron "0 9 * * *"'],
    ['prompt', 'a task: --prompt, --saved-prompt, or --skill'],
  ] as const)
    if (body[field] === undefined && !(field === 'prompt' && hasOther)) throw usageError(`A schedule needs ${option}.`)
  const item = await api.schedules.create({ ...body, ...(options.personal && { team: false }) })
  return tell(screen, item, options, 'is made')
}

export async function update(given: string, options: ScheduleOptions, command: readonly string[]): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const item = await findSchedule(api, given)
  const { id, enabled } = item
  const base =
    options.file === undefined ? bodyOf(item) : { name: item.name, enabled, ...(await readBody(options.file)) }
  return tell(
    screen,
    await api.schedules.replace(id, await withOptions(api, base, options, command)),
    options,
    'is changed',
  )
}

export async function setEnabled(given: string, on: boolean, options: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { id } = await findSchedule(api, given)
  return tell(screen, await api.schedules.setEnabled(id, on), options, on ? 'goes on' : 'is paused')
}

export async function remove(given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { id, name } = await findSchedule(api, given)
  await api.schedules.remove(id)
  screen.write(`${clean(name)} is deleted. Its runs stay.\n`)
  return exitCodes.succeeded
}

export async function runNow(given: string, { json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { id } = await findSchedule(api, given)
  const started = await api.schedules.runNow(id)
  screen.write(json ? `${JSON.stringify(started)}\n` : `${started.run_id}\n`)
  if (!json) screen.note(`Watch it: ${typed} logs ${started.run_id} --follow`)
  return exitCodes.succeeded
}

export async function backfill(
  given: string,
  options: JsonOption & { from: string; to: string; overlap?: OverlapPolicy },
): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { id } = await findSchedule(api, given)
  const asked = await api.schedules.backfill(id, {
    from: moment(options.from, '--from'),
    to: moment(options.to, '--to'),
    ...(options.overlap !== undefined && { overlap_policy: options.overlap }),
  })
  const { scheduled_times: times, already_started: already } = asked
  if (options.json) screen.write(`${JSON.stringify(asked)}\n`)
  else {
    screen.write(times.map((time) => `${time}\n`).join(''))
    const had = already.length === 0 ? '' : ` ${already.length} have run before.`
    screen.note(times.length === 0 ? `Nothing was missed.${had}` : `These ${times.length} are made up for.${had}`)
  }
  return exitCodes.succeeded
}

export async function upcoming(given: string, { json, limit }: JsonOption & { limit: number }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { id, name } = await findSchedule(api, given)
  const told = await api.schedules.upcoming(id, limit)
  if (json) {
    screen.write(`${JSON.stringify(told)}\n`)
    return exitCodes.succeeded
  }
  const local = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'long', timeZone: told.time_zone })
  screen.write(told.times.map((time) => `${time}  ${local.format(new Date(time))}\n`).join(''))
  if (!told.enabled) screen.note(`! ${clean(name)} is paused: nothing begins. ${typed} schedules resume ${id}`)
  return exitCodes.succeeded
}

async function tell(screen: Screen, item: ScheduleItem, { json }: JsonOption, what: string): Promise<ExitCode> {
  for (const warning of item.warnings ?? []) screen.note(`! ${warning}`)
  if (json) {
    screen.write(`${JSON.stringify(item)}\n`)
    return exitCodes.succeeded
  }
  screen.write(`${clean(item.name)} ${what}: ${item.id}\n`)
  if (item.history.next_run !== null) screen.note(`Next: ${item.history.next_run}`)
  return exitCodes.succeeded
}

type Body = Record<string, unknown>

/** What of a schedule can be set, as it is now. */
function bodyOf(item: ScheduleItem): Body {
  const { name, cron_schedule, prompt, saved_prompt, mode, enabled, agent_uid, agent_config, metadata } = item
  const { time_zone, overlap_policy, catchup_window_seconds, jitter_seconds, pause_after_failures } = item
  return {
    ...{ name, cron_schedule, mode, enabled, agent_uid, agent_config, metadata },
    ...(saved_prompt ? { saved_prompt } : { prompt }),
    ...{ time_zone, overlap_policy, catchup_window_seconds, jitter_seconds, pause_after_failures },
  }
}

async function readBody(path: string): Promise<Body> {
  const text = path === '-' ? await readAll(process.stdin) : await readFile(path, 'utf8').catch(cannotRead(path))
  try {
    const body: unknown = JSON.parse(text)
    if (typeof body === 'object' && body !== null && !Array.isArray(body)) return { ...body }
  } catch {
    // Not JSON: said below.
  }
  throw usageError(`${path} does not hold a JSON object.`)
}

const cannotRead = (path: string) => (error: NodeJS.ErrnoException) => {
  throw usageError(`The file ${path} cannot be read (${error.code}).`)
}

/** What the options name takes the place of what is in the body; the rest stays. */
async function withOptions(api: Api, base: Body, options: ScheduleOptions, command: readonly string[]): Promise<Body> {
  const former = (base.agent_config as { harness?: { type?: unknown; command?: unknown } } | null)?.harness
  const agent = options.agent ?? former?.type
  if (command.length > 0 && agent !== 'command')
    throw usageError('What stands after -- is the command of --agent command.')
  if (options.agent === 'command' && command.length === 0 && former?.command === undefined)
    throw usageError('--agent command needs the command after two dashes: -- ./backup.sh --all')
  const environment = options.environment
  const config: Body = {
    environment_id:
      environment === undefined ? undefined : environment === '' ? '' : (await findEnvironment(api, environment)).uid,
    harness:
      options.agent === undefined && command.length === 0
        ? undefined
        : {
            type: agent,
            ...(agent === 'command' && { command: command.length > 0 ? command : former?.command }),
          },
    model_id: options.model,
    profile: options.profile,
    ...(options.skill && { skills: options.skill, skill_spec: null }),
  }
  const named = given(config)
  const { prompt: _prompt, saved_prompt: _saved, ...rest } = base
  const hasTask = options.prompt !== undefined || options.savedPrompt !== undefined
  return {
    // One takes the place of the other.
    ...(hasTask ? rest : base),
    ...given({
      name: options.name,
      cron_schedule: options.cron,
      time_zone: options.timeZone,
      prompt: options.prompt,
      saved_prompt: savedPromptOf(options),
      agent_uid: options.as && (await findServiceAccount(api, options.as)).uid,
      overlap_policy: options.overlap,
      catchup_window_seconds: options.catchUp,
      jitter_seconds: options.jitter,
      pause_after_failures: options.pauseAfter,
      metadata: options.metadata && readMetadata(options.metadata),
      enabled: options.paused ? false : undefined,
    }),
    ...(Object.keys(named).length > 0 && { agent_config: { ...(base.agent_config as Body | null), ...named } }),
  }
}

const given = (fields: Body): Body =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

/** A time, or a date alone, as the API takes it. Without an offset it is UTC. */
function moment(text: string, option: string): string {
  const hasZone = /([Zz]|[+-]\d\d:?\d\d)$/.test(text)
  const time = new Date(text.includes('T') && !hasZone ? `${text}Z` : text)
  if (Number.isNaN(time.getTime())) throw usageError(`${option} ${text}: write a time like 2026-01-31T12:00:00Z.`)
  return time.toISOString()
}

const findSchedule = async (api: Api, word: string): Promise<ScheduleItem> =>
  findNamed(await api.schedules.list(), word, { one: 'schedule', all: 'schedules' }, ({ id, name }) => ({
    uid: id,
    name,
  }))
