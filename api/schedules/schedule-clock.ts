// Temporal Schedules, as the clock of ours: what it is told of one, and what it knows.
import { type Client, ScheduleNotFoundError, type ScheduleOptions, WorkflowNotFoundError } from '@temporalio/client'
import type { SearchAttributePair } from '@temporalio/common'
import { msToTs, tsToMs } from '@temporalio/common/lib/time.js'
import { canonicalTimeZone, cronExpressions } from '../../domain/cron.ts'
import type { OverlapPolicy } from '../../domain/schedule.ts'
import type { ScheduleRow } from '../../store/schedules/schedules.ts'
import {
  ORCHESTRATOR_QUEUE,
  SCHEDULE_WORKFLOW,
  type ScheduleSlotInput,
  SLOT_OVER_SIGNAL,
  slotWorkflowBase,
  slotWorkflowId,
  temporalScheduleId,
} from '../../workflows/contract.ts'
import { scheduleAttributes } from '../../workflows/search-attributes.ts'
import { startWithAttributes } from '../hand-over.ts'
import type { AttributeRegistration } from '../search-attributes.ts'

type PatchRequest = Parameters<Client['workflowService']['patchSchedule']>[0]

export interface ScheduleClock {
  /** Makes the schedule in Temporal as it is here, whether it is there already or not. */
  put(schedule: ScheduleRow): Promise<void>
  /** Whether it is there or not. */
  remove(scheduleId: string): Promise<void>
  /**
   * The times after `from`, up to `to` with it, as far as Temporal tells them
   * (1,000). @throws {ScheduleNotFoundError}
   */
  times(scheduleId: string, from: Date, to: Date): Promise<Date[]>
  /**
   * Starts the workflow of a slot that has a run already, so that later slots
   * see it: now, or after those that go on. Asked for again, it is one.
   */
  attend(scheduleId: string, slot: Date, besideOthers: boolean): Promise<void>
  /** Starts the workflows of all times of a stretch, with its ends. `id`: asked for again under it, they are started once. */
  backfill(scheduleId: string, stretch: { id: string; from: Date; to: Date; overlap: OverlapPolicy }): Promise<void>
  /** A slot is over. One whose workflow is gone need not be told. */
  tellOver(scheduleId: string, slot: Date): Promise<void>
  /** Whether the slot has a workflow that goes on. */
  isUnderWay(scheduleId: string, slot: Date): Promise<boolean>
  isThere(scheduleId: string): Promise<boolean>
  /** All that Temporal lists, a moment behind. */
  listed(): Promise<Set<string>>
}

/** Temporal answers in milliseconds or is away. */
const CALL_MS = 5_000
/** Listing all takes as many calls as there are thousands. */
const LIST_MS = 30_000

const policies = {
  skip: 'SKIP',
  buffer_one: 'BUFFER_ONE',
  buffer_all: 'BUFFER_ALL',
  cancel_other: 'CANCEL_OTHER',
  allow_all: 'ALLOW_ALL',
} as const satisfies Record<OverlapPolicy, string>

/** As Temporal's API numbers them. */
const policyNumbers = { skip: 1, buffer_one: 2, buffer_all: 3, cancel_other: 4, allow_all: 6 } as const

export function createScheduleClock(
  client: Client,
  attributes: Pick<AttributeRegistration, 'ready' | 'refused'>,
): ScheduleClock {
  const { namespace, identity } = client.options
  const call = <T>(work: () => Promise<T>, milliseconds = CALL_MS) =>
    client.connection.withDeadline(Date.now() + milliseconds, work)
  const handle = (scheduleId: string) => client.schedule.getHandle(temporalScheduleId(scheduleId))

  const patch = (scheduleId: string, requestId: string, change: NonNullable<PatchRequest['patch']>) => {
    const request = { namespace, identity, scheduleId: temporalScheduleId(scheduleId), requestId, patch: change }
    return call(() => client.workflowService.patchSchedule(request))
  }

  return {
    put: (schedule) =>
      startWithAttributes(attributes, scheduleAttributes(schedule), async (pairs) => {
        const { scheduleId, ...definition } = definitionOf(schedule, pairs)
        try {
          await call(() => handle(schedule.id).update(() => definition))
        } catch (error) {
          if (!(error instanceof ScheduleNotFoundError)) throw error
          await call(() => client.schedule.create({ scheduleId, ...definition }))
        }
      }),
    async remove(scheduleId) {
      try {
        await call(() => handle(scheduleId).delete())
      } catch (error) {
        if (!(error instanceof ScheduleNotFoundError)) throw error
      }
    },
    async times(scheduleId, from, to) {
      const request = {
        namespace,
        scheduleId: temporalScheduleId(scheduleId),
        startTime: msToTs(from.getTime()),
        endTime: msToTs(to.getTime()),
      }
      try {
        const { startTime } = await call(() => client.workflowService.listScheduleMatchingTimes(request))
        return startTime.map((time) => new Date(tsToMs(time)))
      } catch (error) {
        if (isNotFound(error)) throw new ScheduleNotFoundError('It is not there.', scheduleId)
        throw error
      }
    },
    async attend(scheduleId, slot, besideOthers) {
      await patch(scheduleId, `${scheduleId} ${slot.toISOString()}`, {
        triggerImmediately: {
          overlapPolicy: policyNumbers[besideOthers ? 'allow_all' : 'buffer_all'],
          scheduledTime: msToTs(slot.getTime()),
        },
      })
    },
    async backfill(scheduleId, { id, from, to, overlap }) {
      const stretch = { startTime: msToTs(from.getTime()), endTime: msToTs(to.getTime()) }
      await patch(scheduleId, id, { backfillRequest: [{ ...stretch, overlapPolicy: policyNumbers[overlap] }] })
    },
    async tellOver(scheduleId, slot) {
      try {
        await call(() => client.workflow.getHandle(slotWorkflowId(scheduleId, slot)).signal(SLOT_OVER_SIGNAL))
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error
      }
    },
    async isUnderWay(scheduleId, slot) {
      try {
        const { status } = await call(() => client.workflow.getHandle(slotWorkflowId(scheduleId, slot)).describe())
        return status.name === 'RUNNING'
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return false
        throw error
      }
    },
    async isThere(scheduleId) {
      try {
        await call(() => handle(scheduleId).describe())
        return true
      } catch (error) {
        if (error instanceof ScheduleNotFoundError) return false
        throw error
      }
    },
    listed: () =>
      call(async () => {
        const ids = new Set<string>()
        for await (const { scheduleId } of client.schedule.list()) ids.add(scheduleId)
        return ids
      }, LIST_MS),
  }
}

type Definition = Omit<ScheduleOptions, 'state'> & { state: { paused: boolean; note: string } }

function definitionOf(schedule: ScheduleRow, pairs: SearchAttributePair[]): Definition {
  const input: ScheduleSlotInput = { scheduleId: schedule.id, jitterSeconds: schedule.jitter_seconds }
  return {
    scheduleId: temporalScheduleId(schedule.id),
    spec: {
      cronExpressions: cronExpressions(schedule.cron_schedule),
      timezone: canonicalTimeZone(schedule.time_zone) ?? schedule.time_zone,
    },
    action: {
      type: 'startWorkflow',
      workflowType: SCHEDULE_WORKFLOW,
      workflowId: slotWorkflowBase(schedule.id),
      taskQueue: ORCHESTRATOR_QUEUE,
      args: [input],
      staticSummary: 'slot of a schedule',
      staticDetails: `Of the schedule ${schedule.id}, team ${schedule.team}.`,
      ...(pairs.length > 0 ? { typedSearchAttributes: pairs } : {}),
    },
    policies: {
      overlap: policies[schedule.overlap_policy],
      catchupWindow: `${schedule.catchup_seconds}s`,
      pauseOnFailure: false,
    },
    state: { paused: !schedule.enabled, note: schedule.paused_reason ?? '' },
  }
}

const NOT_FOUND = 5

const isNotFound = (error: unknown) => error instanceof Error && 'code' in error && error.code === NOT_FOUND
