// Which models a team's runs may call.
import { sql } from 'kysely'
import { type ModelRules, noRules } from '../../domain/models/rules.ts'
import type { Queryable, Tx } from '../database.ts'

export async function modelRules(db: Queryable, team: string): Promise<ModelRules> {
  const row = await db.selectFrom('model_rules').select(['allow', 'deny']).where('team', '=', team).executeTakeFirst()
  return row ?? noRules
}

export async function setModelRules(tx: Tx, team: string, { allow, deny }: ModelRules): Promise<void> {
  await tx
    .insertInto('model_rules')
    .values({ team, allow, deny })
    .onConflict((conflict) => conflict.column('team').doUpdateSet({ allow, deny, updated_at: sql`now()` }))
    .execute()
}
