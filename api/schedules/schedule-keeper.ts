// Keeps schedules and Temporal together. Whatever is to be told to one by the other is in the database before, so that
// nothing is lost when this process or Temporal is away: another look takes it up.
import { setTimeout as sleep } from 'node:timers/promises'
import { isGrpcServiceError, ScheduleNotFoundError } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Config } from '../../config.ts'
import { HttpError } from '../../domain/problem.ts'
import type { OverlapPolicy } from '../../domain/schedule.ts'
import { startScheduled } from '../../runs/scheduled.ts'
import { note, SYSTEM } from '../../store/audit.ts'
import type { Db, Tx } from '../../store/database.ts'
import { knownSlots, markKnown, type OpenSlot, writeAbsence } from '../../store/schedules/schedule-slots.ts'
import {
  deliveredSchedules,
  holdUndelivered,
  markAccounted,
  markBackfillDelivered,
  markDelivered,
  markLost,
  refuseSchedule,
  unaccountedSchedules,
  undeliveredBackfills,
  undeliveredSchedules,
} from '../../store/schedules/schedule-upkeep.ts'
import {
  dueSlots,
  isDue,
  markTold,
  settleDue,
  settleSlots,
  slotAtWork,
  unknownSlots,
  untoldSlots,
} from '../../store/schedules/schedule-work.ts'
import { countOutcome, lockSchedule, noteSpawn, type ScheduleRow } from '../../store/schedules/schedules.ts'
import { createSweeper } from '../../store/sweeper.ts'
import { temporalScheduleId } from '../../workflows/contract.ts'
import { type Dispatcher, isAway } from '../dispatcher.ts'
import { causeOf } from '../hand-over.ts'
import type { ScheduleClock } from './schedule-clock.ts'

export interface ScheduleKeeper {
  /** There may be something to do. Returns at once. */
  nudge(): void
  /** Waits until everything that was written before is done, as far as that can be now; so long at most. */
  settled(milliseconds: number): Promise<void>
  /** Has what Temporal has lost made again. */
  lookForLost(): Promise<void>
  close(): Promise<void>
}

/** How often the database is asked when nobody has said anything: another process may have written something, or a run ended. */
const SWEEP_MS = 2_000
/** How often it is asked what became of times that have passed. */
const ACCOUNT_MS = 10_000
/** A time that passed so long ago has begun something, or will not. In seconds. */
const BEGUN_WITHIN_S = 15
/** How often it is asked whether Temporal still has all schedules. */
const LOST_MS = 30_000
/** Temporal's list is behind by no more. In seconds. */
const LISTED_WITHIN_S = 60
const CLOSE_MS = 1_000
/** So many of the next times are kept for lists. */
const UPCOMING = 10
const FAR_MS = 30 * 365 * 24 * 60 * 60 * 1000

/** As many as Temporal tells at once. */
const TIMES_MOST = 1_000

export interface ScheduleKeeperDeps {
  db: Db
  clock: ScheduleClock
  dispatcher: Pick<Dispatcher, 'nudge'>
  config: Config
  log: Logger
}

export function createScheduleKeeper({ db, clock, dispatcher, config, log }: ScheduleKeeperDeps): ScheduleKeeper {
  const closing = new AbortController()
  /** Rounds that have begun, and those who wait for the end of one that begins later. */
  let round = 0
  let ended = 0
  const waiting = new Set<() => void>()
  let accountedAt = 0
  // Temporal may have come back without its data while no server was there.
  let lookedAt = 0

  /** Each is tried for itself; while Temporal is away, the others need not be. */
  async function each<T>(all: readonly T[], what: string, work: (one: T) => Promise<void>): Promise<boolean> {
    for (const one of all) {
      if (closing.signal.aborted) return false
      try {
        await work(one)
      } catch (error) {
        log.warn({ reason: causeOf(error), of: one }, `${what} did not succeed; it is tried again`)
        if (isAway(error)) return false
      }
    }
    return true
  }

  async function tell(id: string): Promise<void> {
    await db.transaction().execute(async (tx) => {
      const schedule = await holdUndelivered(tx, id)
      if (schedule === null) return
      if (schedule.deleted_at !== null) {
        await clock.remove(id)
        await markDelivered(tx, schedule, [])
        return
      }
      // What became of its former times, as long as Temporal knows them.
      if (schedule.handed_revision > 0)
        await account(tx, schedule, schedule.updated_at).catch((error: unknown) => {
          if (!(error instanceof ScheduleNotFoundError)) throw error
        })
      try {
        await clock.put(schedule)
      } catch (error) {
        if (!isRefusal(error)) throw error
        log.warn({ schedule: id, reason: causeOf(error) }, 'Temporal does not take a schedule; it is paused')
        await refuseSchedule(tx, schedule, causeOf(error))
        return
      }
      await markDelivered(tx, schedule, schedule.enabled ? await next(schedule.id) : [])
    })
  }

  const next = async (id: string) =>
    (await clock.times(id, new Date(), new Date(Date.now() + FAR_MS))).slice(0, UPCOMING)

  /** The run of a slot that is due, or the reason why there is none: as if somebody had asked for it. */
  async function make(slot: OpenSlot): Promise<void> {
    const runId = await db.transaction().execute(async (tx) => {
      const schedule = await lockSchedule(tx, slot.scheduleId)
      if (!(await isDue(tx, slot))) return null
      try {
        if (schedule === null) throw new HttpError(404, 'resource_not_found', 'The schedule was deleted.')
        const started = await startScheduled(tx, config, schedule)
        await settleDue(tx, slot, { runId: started.run_id })
        await noteSpawn(tx, schedule.id, null)
        const thing = { type: 'run', uid: started.run_id, team: schedule.team }
        await note(tx, { caller: SYSTEM, action: 'runs.create', thing, detail: { schedule: schedule.id } })
        return started.run_id
      } catch (error) {
        // Nothing was written. It would be the same another time: it is the schedule that has to change.
        if (!(error instanceof HttpError) || error.status >= 500) throw error
        await settleDue(tx, slot, { failure: error.message })
        if (schedule === null) return null
        await noteSpawn(tx, schedule.id, error.message)
        await countOutcome(tx, schedule, error.message, config.AMBIENT_SCHEDULE_FAILURES)
        return null
      }
    })
    if (runId !== null) dispatcher.nudge(runId)
  }

  /** Writes down what became of each time up to this one. Answers with the first one of which that cannot be said yet. */
  async function account(tx: Db | Tx, schedule: ScheduleRow, to: Date): Promise<Date | null> {
    const { id, accounted_to: from } = schedule
    const times = await clock.times(id, from, to)
    const known = await knownSlots(tx, id, from, to)
    for (const time of times) {
      if (known.has(time.getTime())) continue
      const why = await whyNothing(tx, schedule, time)
      if (why === null) return time
      await writeAbsence(tx, { scheduleId: id, slot: time, ...why })
    }
    // Temporal tells so many, and there may be more.
    return times.length >= TIMES_MOST ? (times.at(-1) ?? null) : null
  }

  /** Null where something may yet come of it. */
  async function whyNothing(
    tx: Db | Tx,
    { id, overlap_policy: policy, catchup_seconds: seconds }: ScheduleRow,
    time: Date,
  ): Promise<{ outcome: 'skipped' | 'missed'; reason: string } | null> {
    if (await clock.isUnderWay(id, time)) return null
    const before = policy === 'allow_all' ? undefined : await slotAtWork(tx, id, time)
    if (before !== undefined) {
      // It may wait for the end of that one.
      if (policy !== 'skip' && before.isStill) return null
      return {
        outcome: 'skipped',
        reason: `The run ${before.runId} was still going on (overlap_policy: ${policy}).`,
      }
    }
    if (time.getTime() > Date.now() - BEGUN_WITHIN_S * 1_000)
      return { outcome: 'skipped', reason: 'The schedule was paused or changed at that moment.' }
    return {
      outcome: 'missed',
      reason: `Temporal was away at that time, and for longer after it than the catch-up window (${seconds} s), or had lost the schedule.`,
    }
  }

  async function accountAll(): Promise<void> {
    await each(
      await unaccountedSchedules(db, BEGUN_WITHIN_S),
      'the look at the past times of a schedule',
      async (schedule) => {
        try {
          const to = new Date(Date.now() - BEGUN_WITHIN_S * 1_000)
          const open = await account(db, schedule, to)
          const reached = open === null ? to : new Date(open.getTime() - 1)
          await markAccounted(db, schedule, reached, [...(open === null ? [] : [open]), ...(await next(schedule.id))])
        } catch (error) {
          if (!(error instanceof ScheduleNotFoundError)) throw error
          await lose(schedule.id)
        }
      },
    )
  }

  async function lose(id: string): Promise<void> {
    log.warn({ schedule: id }, 'Temporal has lost a schedule; it is made again')
    await markLost(db, id)
  }

  async function lookForLost(): Promise<void> {
    const known = await deliveredSchedules(db, LISTED_WITHIN_S)
    if (known.length === 0) return
    const listed = await clock.listed()
    const missing = known.filter((id) => !listed.has(temporalScheduleId(id)))
    await each(missing, 'the look for a schedule', async (id) => {
      if (!(await clock.isThere(id))) await lose(id)
    })
  }

  async function sweep(): Promise<void> {
    await each(await dueSlots(db), 'the start of a scheduled run', make)
    await settleSlots(db, config.AMBIENT_SCHEDULE_FAILURES)
    const isThere =
      (await each(await undeliveredSchedules(db), 'the hand-over of a schedule', tell)) &&
      (await each(await unknownSlots(db), 'the hand-over of a slot', attend)) &&
      (await each(
        await undeliveredBackfills(db),
        'the hand-over of a backfill',
        async ({ id, scheduleId, ...stretch }) => {
          await clock.backfill(scheduleId, { id, ...stretch })
          await markBackfillDelivered(db, id)
        },
      )) &&
      (await each(await untoldSlots(db), 'the word that a slot is over', async (slot) => {
        await clock.tellOver(slot.scheduleId, slot.slot)
        await markTold(db, slot)
      }))
    if (!isThere) return
    if (Date.now() - accountedAt >= ACCOUNT_MS) {
      accountedAt = Date.now()
      await accountAll()
    }
    if (Date.now() - lookedAt >= LOST_MS) {
      lookedAt = Date.now()
      await lookForLost()
    }
  }

  async function attend({ overlap, ...slot }: OpenSlot & { overlap: OverlapPolicy }): Promise<void> {
    await clock.attend(slot.scheduleId, slot.slot, overlap === 'allow_all')
    await markKnown(db, slot)
  }

  /** Told to those who wait, also where it fails. */
  async function countedSweep(): Promise<void> {
    round += 1
    try {
      await sweep()
    } finally {
      ended = round
      for (const look of waiting) look()
    }
  }

  const sweeper = createSweeper({
    sweep: countedSweep,
    everyMs: SWEEP_MS,
    closing: closing.signal,
    onError: (error) => log.warn({ reason: causeOf(error) }, 'the look after schedules failed; it is tried again'),
  })

  return {
    nudge: sweeper.nudge,
    async lookForLost() {
      await lookForLost()
      sweeper.nudge()
    },
    async settled(milliseconds) {
      // The one that goes on may have begun before.
      const wanted = round + 1
      sweeper.nudge()
      const done = Promise.withResolvers<void>()
      const look = () => {
        if (ended >= wanted) done.resolve()
      }
      waiting.add(look)
      await Promise.race([done.promise, sleep(milliseconds, undefined, { ref: false })])
      waiting.delete(look)
    },
    async close() {
      closing.abort()
      await Promise.race([sweeper.ended, sleep(CLOSE_MS, undefined, { ref: false })])
    },
  }
}

const INVALID_ARGUMENT = 3

/** Whatever is tried again, it would be refused again. */
function isRefusal(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (isGrpcServiceError(at) && at.code === INVALID_ARGUMENT) return true
  }
  return false
}
