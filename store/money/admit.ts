// What the gateway asks before it passes a model call on.
import type { CallRefusal, ModelCallStart } from '../../domain/models/call.ts'
import type { MoneyRules } from '../../domain/money/rules.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db } from '../database.ts'
import { refusalOfRun } from './refusal.ts'
import { noteStop } from './stops.ts'

/**
 * Null: it may go out. Calls of a scripted model cost nothing, and go out always. What is under way
 * already when a limit is reached is the most that goes beyond it. A refusal is
 * written down before the agent hears of it, so that its run is known to be paused.
 */
export async function admitCall(
  db: Db,
  rules: MoneyRules,
  run: ExecutionRef,
  call: Pick<ModelCallStart, 'free'>,
): Promise<CallRefusal | null> {
  if (call.free) return null
  const refusal = await refusalOfRun(db, rules, run.runId)
  if (refusal === null) return null
  await noteStop(db, run, refusal)
  return { kind: 'budget', reason: refusal.reason, message: `${refusal.message} ${TELL_AGENT}` }
}

/** The words by which a host knows this refusal among an agent's errors: see agents/acp/failures.ts. */
const TELL_AGENT = 'The run is paused until there is more to spend. (ambient_budget)'
