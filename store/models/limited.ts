// Calls whose price is unknown, where something limits what a run may spend: they would cost nothing there.
import { sql } from 'kysely'
import type { CallRefusal, ModelCallStart } from '../../domain/models/call.ts'
import type { MoneyRules } from '../../domain/money/rules.ts'
import type { Queryable } from '../database.ts'
import { placesOfRun } from '../money/places.ts'

/** `setting`: AMBIENT_UNPRICED_MODELS. */
export async function refuseUnpriced(
  db: Queryable,
  setting: 'refuse' | 'allow',
  rules: MoneyRules,
  { runId }: { runId: string },
  { priced, free, model }: Pick<ModelCallStart, 'priced' | 'free' | 'model'>,
): Promise<CallRefusal | null> {
  if (priced || free || setting === 'allow' || !(await isLimited(db, rules, runId))) return null
  const what = model === null ? 'What this call costs is' : `The price of ${model}, or of calls of this kind, is`
  return {
    kind: 'not_allowed',
    reason: 'unpriced',
    message: `${what} not known here, and a budget or credits limit this run. Give its price in AMBIENT_MODELS_FILE, or set AMBIENT_UNPRICED_MODELS=allow.`,
  }
}

/** A budget of any kind, or the team's credits where they are enforced. */
async function isLimited(db: Queryable, rules: MoneyRules, runId: string): Promise<boolean> {
  if (rules.enforced !== null) return true
  const { rows } = await sql<{ limited: boolean }>`
    with recursive ${placesOfRun(runId)}
    select exists (select from places join budgets using (team, scope, thing)) as limited
  `.execute(db)
  return rows[0]?.limited === true
}
