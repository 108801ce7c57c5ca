// Teams and people that are deleted: what goes with them, and what stays because runs and the audit log name it.
import { sql } from 'kysely'
import { terminalStates } from '../../domain/state.ts'
import { deleteEnvironment } from '../builds/environments.ts'
import type { Tx } from '../database.ts'
import { cancelUnlessOver, messageWaits } from '../runs/mail.ts'
import { tellAccessChanged } from './access-channel.ts'

/** What went with it. */
export interface Removed {
  /** Runs that are being cancelled: whoever hands mail over is to be called for each. */
  cancelledRuns: string[]
  deletedSchedules: number
  revokedKeys: number
}

/**
 * Deletes a team: nobody is in it any more. Its runs are cancelled as far as
 * they go on; they stay, with what they have made. Null where there is none.
 */
export async function deleteTeam(tx: Tx, uid: string): Promise<Removed | null> {
  const { numUpdatedRows } = await tx
    .updateTable('teams')
    .set({ deleted_at: sql`now()`, updated_at: sql`now()` })
    .where('name', '=', uid)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  if (numUpdatedRows === 0n) return null
  // Schedules before runs, as whoever cancels the run of a slot has it.
  const deletedSchedules = await deleteSchedules(tx, sql`team = ${uid}`)
  const cancelledRuns = await cancelRuns(tx, sql`runs.team = ${uid}`, 'Its team was deleted.')
  const revokedKeys = await revoke(tx, sql`team = ${uid}`)
  await tx.deleteFrom('members').where('team', '=', uid).execute()
  await sql`
    delete from run_shares
    where team = ${uid} or run_id in (select id from runs where runs.team = ${uid})
  `.execute(tx)
  await tx
    .updateTable('identities')
    .set({ deleted_at: sql`now()`, config: sql`config - 'mcp_servers'` })
    .where('team', '=', uid)
    .where('deleted_at', 'is', null)
    .execute()
  // What is kept secret for it is nobody's any more, sealed or not.
  for (const table of ['webhooks', 'secrets', 'model_providers', 'git_credentials', 'mcp_servers'] as const)
    await tx.deleteFrom(table).where('team', '=', uid).execute()
  await dropItems(tx, sql`team = ${uid}`)
  await dropBudgets(tx, sql`team = ${uid}`)
  const environments = await tx
    .selectFrom('environments')
    .select('id')
    .where('team', '=', uid)
    .where('deleted_at', 'is', null)
    .orderBy('id')
    .execute()
  await tellAccessChanged(tx)
  // Last: the line of waiting runs is locked from the first one on.
  for (const { id } of environments) await deleteEnvironment(tx, uid, id)
  return { cancelledRuns, deletedSchedules, revokedKeys }
}

/**
 * Deletes a person: who they were is forgotten, and that somebody was there is
 * kept. Their own runs are cancelled as far as they go on; those of teams go on.
 * Null where there is nobody.
 */
export async function deletePerson(tx: Tx, uid: string): Promise<Removed | null> {
  const { numUpdatedRows } = await tx
    .updateTable('people')
    .set({
      email: `${uid}@deleted.invalid`,
      display_name: 'Deleted person',
      photo_url: null,
      disabled_at: sql`coalesce(disabled_at, now())`,
      deleted_at: sql`now()`,
      updated_at: sql`now()`,
    })
    .where('uid', '=', uid)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  if (numUpdatedRows === 0n) return null
  const deletedSchedules = await deleteSchedules(tx, sql`owner = ${uid}`)
  // A team's are made in the name of whoever changed them last.
  await tx
    .updateTable('schedules')
    .set({
      enabled: false,
      paused_reason: 'Whoever had changed it last was deleted. Resume it to have it go on in your name.',
      revision: sql`revision + 1`,
      updated_at: sql`now()`,
    })
    .where('updated_by_type', '=', 'user')
    .where('updated_by', '=', uid)
    .where('enabled', '=', true)
    .where('deleted_at', 'is', null)
    .execute()
  const own = sql`runs.scope = 'User' and runs.created_by_type = 'user' and runs.created_by = ${uid}`
  const cancelledRuns = await cancelRuns(tx, own, 'Whoever had started it was deleted.')
  const revokedKeys = await revoke(tx, sql`person = ${uid}`)
  for (const table of ['members', 'sessions', 'run_shares', 'person_logins'] as const)
    await tx.deleteFrom(table).where('person', '=', uid).execute()
  await tx.deleteFrom('secrets').where('scope', '=', 'person').where('owner', '=', uid).execute()
  await tx.deleteFrom('git_credentials').where('person', '=', uid).execute()
  await dropItems(tx, sql`owner = ${uid}`)
  await dropBudgets(tx, sql`scope = 'person' and thing = ${uid}`)
  await tellAccessChanged(tx)
  return { cancelledRuns, deletedSchedules, revokedKeys }
}

async function deleteSchedules(tx: Tx, which: ReturnType<typeof sql>): Promise<number> {
  const { rows } = await sql`
    update schedules
    set deleted_at = now(), enabled = false, agent_config = null, revision = revision + 1, updated_at = now()
    where ${which} and deleted_at is null
    returning id
  `.execute(tx)
  return rows.length
}

/** Profiles, rules and saved prompts. Runs name them, so they stay, without the values that are sealed in them. */
async function dropItems(tx: Tx, which: ReturnType<typeof sql>): Promise<void> {
  await sql`
    with dropped as (
      update shared_items
      set deleted_at = now(), is_default = false, content = content #- '{config,mcp_servers}'
      where ${which} and deleted_at is null
      returning uid
    )
    update shared_item_versions set content = content #- '{config,mcp_servers}' where uid in (select uid from dropped)
  `.execute(tx)
}

/** Those of runs and their trees stay with them. */
async function dropBudgets(tx: Tx, which: ReturnType<typeof sql>): Promise<void> {
  await sql`
    with dropped as (delete from budgets where ${which} and scope not in ('run', 'tree') returning uid)
    delete from budget_alerts where budget_uid in (select uid from dropped)
  `.execute(tx)
}

async function cancelRuns(tx: Tx, which: ReturnType<typeof sql>, reason: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select runs.id from runs
    where ${which} and (runs.state <> all(${[...terminalStates]}::text[]) or ${messageWaits})
    order by runs.id
  `.execute(tx)
  const cancelled: string[] = []
  for (const { id } of rows) if (await cancelUnlessOver(tx, id, reason)) cancelled.push(id)
  return cancelled
}

async function revoke(tx: Tx, which: ReturnType<typeof sql>): Promise<number> {
  const { rows } = await sql`
    update api_keys set revoked_at = now() where ${which} and revoked_at is null returning uid
  `.execute(tx)
  return rows.length
}
