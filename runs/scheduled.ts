// The runs that schedules make: as if whoever answers for the schedule had asked for them.
import type { z } from 'zod'
import type { Config } from '../config.ts'
import { parse } from '../domain/parse.ts'
import { atLeast, type Principal, permissions } from '../domain/permission.ts'
import { HttpError } from '../domain/problem.ts'
import { StartRun, type StartRunResponse } from '../domain/run.ts'
import { findIdentity } from '../store/accounts/identities.ts'
import { findActiveMember } from '../store/accounts/teams.ts'
import type { Tx } from '../store/database.ts'
import type { ScheduleRow } from '../store/schedules/schedules.ts'
import { ownerOf } from './owner.ts'
import { withSkills } from './skills.ts'
import { type RunOrigin, resolveRun, startRun } from './start.ts'

/**
 * Starts a run of the schedule now.
 * @throws {HttpError} before anything is written, where none can be started.
 */
export async function startScheduled(
  tx: Tx,
  settings: Config,
  schedule: ScheduleRow,
): Promise<z.infer<typeof StartRunResponse>> {
  const { body, origin } = await requestOf(tx, schedule)
  return await startRun(tx, settings, body, origin)
}

/** @throws {HttpError} where no run of the schedule could be started at this moment. */
export async function refuseUnstartable(tx: Tx, settings: Config, schedule: ScheduleRow): Promise<void> {
  const { body, origin } = await requestOf(tx, schedule)
  await resolveRun(tx, settings, body, origin)
}

async function requestOf(tx: Tx, schedule: ScheduleRow): Promise<{ body: StartRun; origin: RunOrigin }> {
  const { team, mode, agent_config: config, saved_prompt: savedPrompt, metadata, name } = schedule
  const asker = { ...responsible(schedule), team }
  await refuseGone(tx, team, asker)
  const asked = parse(StartRun, {
    ...(savedPrompt === null ? { prompt: schedule.prompt } : { saved_prompt: savedPrompt }),
    mode,
    // Sealed, values are longer than they may be written.
    config: config && { ...config, mcp_servers: null },
    metadata,
    title: name,
    team: schedule.owner === null,
    agent_identity_uid: schedule.agent_uid,
  })
  const owner = await ownerOf(tx, asker, asked)
  const withServers = asked.config && { ...asked.config, mcp_servers: config?.mcp_servers }
  return {
    body: withSkills({ ...asked, config: withServers }),
    origin: {
      owner,
      visibility: { team, own: asker },
      source: 'SCHEDULED_AGENT',
      trace: null,
      schedule: { schedule_id: schedule.id, schedule_name: name, cron_schedule: schedule.cron_schedule },
    },
  }
}

/** Of a personal schedule whose it is, of a team's whoever has changed it last. */
export const responsible = (schedule: ScheduleRow): Principal =>
  schedule.owner === null
    ? { type: schedule.updated_by_type, uid: schedule.updated_by }
    : { type: schedule.created_by_type, uid: schedule.created_by }

/** Nobody gets runs by a schedule who would get none by asking for them. */
async function refuseGone(tx: Tx, team: string, { type, uid }: Principal): Promise<void> {
  if (type === 'operator') return
  if (type === 'service_account') {
    if ((await findIdentity(tx, team, uid)) !== null) return
    throw new HttpError(
      403,
      'not_authorized',
      `The service account ${uid} that had made the schedule is gone. ${AGAIN}`,
    )
  }
  const member = await findActiveMember(tx, team, uid)
  if (member === null)
    throw new HttpError(
      403,
      'not_authorized',
      `Whoever changed the schedule last is no active member of the team any more (${uid}). ${AGAIN}`,
    )
  if (!atLeast(member.role, permissions['runs.create'].role))
    throw new HttpError(
      403,
      'not_authorized',
      `${member.display_name}, who changed the schedule last, may start no runs any more (${member.role}). ${AGAIN}`,
    )
}

const AGAIN = 'Have somebody else of the team change or resume it.'
