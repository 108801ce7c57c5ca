// Teams, each with its limit. Until keys belong to teams there is one, which every key belongs to.
import type { Queryable } from './database.ts'

export const DEFAULT_TEAM = 'default'

export async function setRunLimit(db: Queryable, team: string, runLimit: number): Promise<void> {
  await db.updateTable('teams').set({ run_limit: runLimit }).where('name', '=', team).execute()
}
