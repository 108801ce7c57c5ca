// Runs on orchestrator workers. What the workflows of schedules have written down: the runs themselves the server makes.
import type { Db } from '../store/database.ts'
import { beginSlot, cancelSlot } from '../store/schedules/schedule-slots.ts'
import type { ScheduleRecords } from '../workflows/contract.ts'

export const makeScheduleActivities = ({ db }: { db: Db }): ScheduleRecords => ({
  beginSlot: ({ scheduleId, slot }) => beginSlot(db, scheduleId, new Date(slot)),
  cancelSlot: ({ scheduleId, slot }) => cancelSlot(db, scheduleId, new Date(slot)),
})
