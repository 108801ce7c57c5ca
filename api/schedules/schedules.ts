// Schedules: what they are, and what becomes of their times.
import { ScheduleNotFoundError } from '@temporalio/client'
import { type Request, type Response, Router } from 'express'
import {
  BACKFILL_SLOTS,
  Backfill,
  type BackfillResponse,
  CreateSchedule,
  type RunNowResponse,
  ScheduleId,
  type ScheduleItem,
  SLOTS_LIMIT,
  UPCOMING_LIMIT,
  UPCOMING_MOST,
  type UpcomingResponse,
  UpdateSchedule,
} from '../../domain/schedule.ts'
import { refuseUnstartable, startScheduled } from '../../runs/scheduled.ts'
import { BY_SKILL, skillsTogether } from '../../runs/skills.ts'
import { configToKeep } from '../../secrets/mcp/values.ts'
import { note } from '../../store/audit.ts'
import type { Queryable, Tx } from '../../store/database.ts'
import { serveSchedule, serveSchedules } from '../../store/schedules/schedule-items.ts'
import { insertBackfill, listSlots, manualSlot, startedSlots, writeSlot } from '../../store/schedules/schedule-slots.ts'
import { markLost } from '../../store/schedules/schedule-upkeep.ts'
import {
  deleteSchedule,
  findSchedule,
  insertSchedule,
  listSchedules,
  lockSchedule,
  noteSpawn,
  replaceSchedule,
  ScheduleNameTakenError,
  type ScheduleRow,
  type ScheduleViewer,
  setScheduleEnabled,
} from '../../store/schedules/schedules.ts'
import { type Caller, callerOf, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { isAway } from '../dispatcher.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { cutPage, limitOf } from '../page.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { heedScheduleFields, refuseUnknown } from '../runs/unknown-fields.ts'
import { fieldsOf, refuseUnsupported } from '../runs/unsupported.ts'
import { shownTo } from '../shown-servers.ts'

/** How long an answer waits for Temporal to know the schedule, so that it can say when it comes next. It is written down in any case. */
const SETTLED_MS = 2_000
/** Temporal knows no times of a schedule before. */
const EARLIEST = new Date('2000-01-01T00:00:00Z')
const FAR_MS = 30 * 365 * 24 * 60 * 60 * 1000

export function scheduleRoutes(deps: ApiDeps): Router {
  const { db, config: settings, schedules, vault } = deps
  const router = Router()

  router
    .route('/schedules')
    .get(permit('schedules.view'), async (_request, response) => {
      const caller = callerOf(response)
      const rows = await listSchedules(db, viewerOf(caller))
      const items = await serveSchedules(db, caller.team, rows)
      response.json({ schedules: items.map((item) => shown(caller, item)) })
    })
    .post(permit('schedules.manage'), async (request, response) => {
      const caller = callerOf(response)
      const { warnings } = heed(request)
      const body = kept(caller, promptGiven(parseBody(CreateSchedule, request)), null)
      const owner = body.team === false ? caller.uid : null
      const answer = await once(deps, request, response, 'POST /agent/schedules', async (tx) => {
        const schedule = await insertSchedule(tx, { team: caller.team, owner, by: caller }, body).catch(refuseTaken)
        await inScheduleWords(() => refuseUnstartable(tx, settings, schedule))
        await noteChange(tx, caller, 'schedules.create', schedule)
        return { status: 201, response: { ...(await serveSchedule(tx, schedule)), ...warnings } }
      })
      const made = answer.response as ScheduleItem
      response.status(answer.status).json({ ...(await settled(caller, made.id, made)), ...warnings })
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/schedules/:id')
    .get(permit('schedules.view'), async (request, response) => {
      const schedule = await known(db, request, response)
      response.json(shown(callerOf(response), await serveSchedule(db, schedule)))
    })
    .put(permit('schedules.manage'), async (request, response) => {
      const caller = callerOf(response)
      const id = scheduleId(request)
      const { warnings } = heed(request)
      const body = promptGiven(parseBody(UpdateSchedule, request))
      const item = await db.transaction().execute(async (tx) => {
        orMissing(id, await findSchedule(tx, viewerOf(caller), id))
        // What stands for a stored value is to get the one that is replaced.
        const stored = orMissing(id, await lockSchedule(tx, id))
        const fields = kept(caller, body, stored)
        const replaced = await replaceSchedule(tx, viewerOf(caller), id, fields, caller).catch(refuseTaken)
        const schedule = orMissing(id, replaced)
        await inScheduleWords(() => refuseUnstartable(tx, settings, schedule))
        await noteChange(tx, caller, 'schedules.update', schedule)
        return serveSchedule(tx, schedule)
      })
      response.json({ ...(await settled(caller, id, item)), ...warnings })
    })
    .delete(permit('schedules.manage'), async (request, response) => {
      const caller = callerOf(response)
      const id = scheduleId(request)
      await db.transaction().execute(async (tx) => {
        const { name } = orMissing(id, await findSchedule(tx, viewerOf(caller), id))
        if (!(await deleteSchedule(tx, viewerOf(caller), id, caller))) throw missing(id)
        await noteChange(tx, caller, 'schedules.delete', { id, name, enabled: false })
      })
      schedules.nudge()
      response.json({ success: true })
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  for (const [word, on] of [
    ['pause', false],
    ['resume', true],
  ] as const) {
    router
      .route(`/schedules/:id/${word}`)
      .post(permit('schedules.manage'), async (request, response) => {
        const caller = callerOf(response)
        const id = scheduleId(request)
        const item = await db.transaction().execute(async (tx) => {
          const schedule = orMissing(id, await setScheduleEnabled(tx, viewerOf(caller), id, on, caller))
          await noteChange(tx, caller, `schedules.${word}`, schedule)
          return serveSchedule(tx, schedule)
        })
        response.json(await settled(caller, id, item))
      })
      .all(onlyMethods('POST'))
  }

  router
    .route('/schedules/:id/run')
    .post(permit('runs.create'), async (request, response) => {
      const caller = callerOf(response)
      const { id } = await known(db, request, response)
      const answer = await once(deps, request, response, `POST /agent/schedules/${id}/run`, async (tx) => ({
        status: 200,
        response: await runNow(tx, caller, id),
      }))
      deps.dispatcher.nudge((answer.response as RunNowResponse).run_id)
      schedules.nudge()
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('POST'))

  router
    .route('/schedules/:id/backfill')
    .post(permit('schedules.manage'), async (request, response) => {
      const caller = callerOf(response)
      refuseUnknown('', fieldsOf(request.body), Backfill)
      const asked = parseBody(Backfill, request)
      const schedule = await known(db, request, response)
      const stretch = stretchOf(asked)
      const times = await timesOf(schedule, new Date(stretch.from.getTime() - 1), stretch.to)
      if (times.length > BACKFILL_SLOTS)
        throw invalid(`to: there are more than ${BACKFILL_SLOTS} times between the two; ask for less at once`)
      const route = `POST /agent/schedules/${schedule.id}/backfill`
      const answer = await once(deps, request, response, route, async (tx) => {
        const started = await startedSlots(tx, schedule.id, times)
        const [already, missed] = [true, false].map((has) =>
          times.filter((time) => started.has(time.getTime()) === has).map((time) => time.toISOString()),
        )
        if (missed?.length)
          await insertBackfill(tx, { ...stretch, scheduleId: schedule.id, overlap: asked.overlap_policy })
        await note(tx, {
          caller,
          action: 'schedules.backfill',
          thing: thingOf(caller, schedule.id),
          detail: { name: schedule.name, times: missed?.length ?? 0 },
        })
        return {
          status: 202,
          response: {
            scheduled_times: missed ?? [],
            already_started: already ?? [],
          } satisfies BackfillResponse,
        }
      })
      schedules.nudge()
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('POST'))

  router
    .route('/schedules/:id/upcoming')
    .get(permit('schedules.view'), async (request, response) => {
      const limit = limitOf(queryOf(request), UPCOMING_LIMIT, UPCOMING_MOST)
      const schedule = await known(db, request, response)
      const now = Date.now()
      const times = await timesOf(schedule, new Date(now), new Date(now + FAR_MS))
      response.json({
        enabled: schedule.enabled,
        time_zone: schedule.time_zone,
        times: times.slice(0, limit).map((time) => time.toISOString()),
      } satisfies UpcomingResponse)
    })
    .all(onlyMethods('GET'))

  router
    .route('/schedules/:id/runs')
    .get(permit('schedules.view'), async (request, response) => {
      const query = queryOf(request)
      const limit = limitOf(query, SLOTS_LIMIT)
      const { id } = await known(db, request, response)
      const found = await listSlots(db, id, { before: cursorOf(query), limit: limit + 1 })
      const { page, info } = cutPage(found, limit, (last) => last.scheduled_time)
      response.json({ slots: page, page_info: info })
    })
    .all(onlyMethods('GET'))

  return router

  async function known(from: Queryable, request: Request, response: Response): Promise<ScheduleRow> {
    const id = scheduleId(request)
    return orMissing(id, await findSchedule(from, viewerOf(callerOf(response)), id))
  }

  function shown(caller: Caller, item: ScheduleItem): ScheduleItem {
    return item.agent_config ? { ...item, agent_config: shownTo(deps, caller).config(item.agent_config) } : item
  }

  /** With the values of its MCP servers sealed. */
  function kept<T extends Pick<CreateSchedule, 'agent_config'>>(
    { team }: Caller,
    body: T,
    stored: ScheduleRow | null,
  ): T {
    const options = { stored: stored?.agent_config, place: 'agent_config' }
    return body.agent_config ? { ...body, agent_config: configToKeep(vault, team, body.agent_config, options) } : body
  }

  /** The schedule, once Temporal knows of the change or a moment is over. */
  async function settled(caller: Caller, id: string, otherwise: ScheduleItem): Promise<ScheduleItem> {
    await schedules.settled(SETTLED_MS)
    const now = await findSchedule(db, viewerOf(caller), id)
    return shown(caller, now ? await serveSchedule(db, now) : otherwise)
  }

  /** The run is asked for by a person, who is told at once what is wrong: nothing of it counts for or against the schedule. */
  async function runNow(tx: Tx, caller: Caller, id: string): Promise<RunNowResponse> {
    const schedule = orMissing(id, await lockSchedule(tx, id))
    const slot = await manualSlot(tx, id)
    const started = await inScheduleWords(() => startScheduled(tx, settings, schedule))
    await writeSlot(tx, { scheduleId: id, slot, kind: 'manual', outcome: 'started', runId: started.run_id })
    await noteSpawn(tx, id, null)
    const thing = { type: 'run', uid: started.run_id, team: caller.team }
    await note(tx, { caller, action: 'runs.create', thing, detail: { schedule: id } })
    const detail = { name: schedule.name, run: started.run_id }
    await note(tx, { caller, action: 'schedules.run', thing: thingOf(caller, id), detail })
    return { ...started, scheduled_time: slot.toISOString() }
  }

  /** As Temporal tells them; a schedule that it has yet to be told of is told of first. */
  async function timesOf({ id }: ScheduleRow, from: Date, to: Date): Promise<Date[]> {
    await schedules.settled(SETTLED_MS)
    try {
      return await deps.scheduleClock.times(id, from, to).catch(async (error: unknown) => {
        if (!(error instanceof ScheduleNotFoundError)) throw error
        // Temporal has lost it, with all its data as a rule: it is told anew.
        await markLost(db, id)
        await schedules.settled(SETTLED_MS)
        return await deps.scheduleClock.times(id, from, to)
      })
    } catch (error) {
      if (!isAway(error) && !(error instanceof ScheduleNotFoundError)) throw error
      throw new HttpError(503, 'resource_unavailable', 'Temporal does not answer. Try again in a moment.', {
        cause: error,
      })
    }
  }

  async function noteChange(
    tx: Tx,
    caller: Caller,
    action: string,
    { id, name, enabled }: Pick<ScheduleRow, 'id' | 'name' | 'enabled'>,
  ): Promise<void> {
    await note(tx, { caller, action, thing: thingOf(caller, id), detail: { name, enabled } })
  }
}

function refuseTaken(error: unknown): never {
  throw error instanceof ScheduleNameTakenError ? new HttpError(409, 'conflict', `name: ${error.message}`) : error
}

const thingOf = ({ team }: Caller, uid: string) => ({ type: 'schedule', uid, team })

/** A personal schedule is for its owner, and for the admins of the team. */
const viewerOf = ({ team, uid, role }: Caller): ScheduleViewer => ({ team, uid, seesAll: role === 'admin' })

function heed(request: Request): { warnings: { warnings?: string[] } } {
  const { mode, agent_config: config, prompt, saved_prompt: saved } = fieldsOf(request.body)
  // As it is shown, where a saved one is the task.
  if (prompt === '' && saved != null) request.body = { ...request.body, prompt: null }
  refuseInScheduleWords(() => refuseUnsupported({ mode, config }))
  const warnings = refuseInScheduleWords(() => heedScheduleFields(request.body))
  return { warnings: warnings.length > 0 ? { warnings } : {} }
}

/** Skills may stand in place of a prompt, and so may a saved one. */
function promptGiven<T extends Pick<CreateSchedule, 'prompt' | 'saved_prompt' | 'agent_config'>>(body: T): T {
  if (body.prompt && body.saved_prompt) throw invalid('saved_prompt: cannot be given together with prompt')
  if (body.prompt != null || body.saved_prompt != null) return body
  const { skills } = skillsTogether(body.agent_config ?? {})
  if (skills == null || skills.length === 0) throw invalid('prompt: is required')
  return { ...body, prompt: BY_SKILL }
}

/** What is wrong with the run that it would make, in the words of the schedule's own fields. */
async function inScheduleWords<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw inOwnWords(error)
  }
}

function refuseInScheduleWords<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw inOwnWords(error)
  }
}

function inOwnWords(error: unknown): unknown {
  if (!(error instanceof HttpError)) return error
  const words = error.message
    .replaceAll(/(?<![\w.])config(?=\.)/g, 'agent_config')
    .replaceAll(/\bagent_identity_uid\b/g, 'agent_uid')
  return new HttpError(error.status, error.code, words, { cause: error })
}

function stretchOf({ from, to }: Backfill): { from: Date; to: Date } {
  const stretch = { from: new Date(from), to: new Date(to) }
  if (stretch.from < EARLIEST) throw invalid('from: must not be before the year 2000')
  if (stretch.to < stretch.from) throw invalid('to: must not be before from')
  if (stretch.to.getTime() > Date.now()) throw invalid('to: must not be in the future')
  return stretch
}

function cursorOf(query: URLSearchParams): Date | null {
  const cursor = query.get('cursor')
  if (cursor === null) return null
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(cursor) || Number.isNaN(Date.parse(cursor)))
    throw invalid('cursor: is not one of this list')
  return new Date(cursor)
}

/** An id in the path that none can have names nothing that exists. */
function scheduleId(request: Request): string {
  const id = ScheduleId.safeParse(request.params.id)
  if (!id.success) throw missing(String(request.params.id))
  return id.data
}

const missing = (id: string) => notFound(`There is no schedule ${id}.`)

function orMissing(id: string, schedule: ScheduleRow | null): ScheduleRow {
  if (schedule === null) throw missing(id)
  return schedule
}
