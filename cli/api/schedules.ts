// Schedules, as the command line asks for them.
import type { z } from 'zod'
import type {
  Backfill,
  BackfillResponse,
  RunNowResponse,
  ScheduleItem,
  ScheduleRuns,
  UpcomingResponse,
} from '../../domain/schedule.ts'
import type { Requests } from './requests.ts'

export interface SchedulesApi {
  list(): Promise<ScheduleItem[]>
  create(body: unknown): Promise<ScheduleItem>
  /** Everything: what the body does not name is gone. */
  replace(id: string, body: unknown): Promise<ScheduleItem>
  setEnabled(id: string, on: boolean): Promise<ScheduleItem>
  remove(id: string): Promise<void>
  runNow(id: string): Promise<RunNowResponse>
  backfill(id: string, body: Partial<Backfill>): Promise<BackfillResponse>
  upcoming(id: string, limit: number): Promise<UpcomingResponse>
  /** The latest first. */
  runs(id: string, query: { limit: number; cursor?: string | undefined }): Promise<z.infer<typeof ScheduleRuns>>
}

export function createSchedulesApi(base: string, { steady, post, put, remove, json }: Requests): SchedulesApi {
  return {
    list: async () => (await json<{ schedules: ScheduleItem[] }>(steady(base))).schedules,
    create: (body) => json(post(base, body)),
    replace: (id, body) => put(`${base}/${id}`, body),
    setEnabled: (id, on) => json(post(`${base}/${id}/${on ? 'resume' : 'pause'}`)),
    remove: (id) => remove(`${base}/${id}`),
    runNow: (id) => json(post(`${base}/${id}/run`)),
    backfill: (id, body) => json(post(`${base}/${id}/backfill`, body)),
    upcoming: (id, limit) => json(steady(`${base}/${id}/upcoming?limit=${limit}`)),
    runs: (id, { limit, cursor }) => {
      const from = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`
      return json(steady(`${base}/${id}/runs?limit=${limit}${from}`))
    },
  }
}
