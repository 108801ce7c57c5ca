// Scores of runs.
import { sql } from 'kysely'
import type { Principal } from '../../domain/permission.ts'
import type { Score, ScoreItem } from '../../domain/score.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb, storableText } from '../json.ts'

/** One of each scorer: a later one takes the place of the one before. */
export async function saveScore(tx: Tx, runId: string, score: Score, by: Principal): Promise<ScoreItem> {
  const { value, passed, explanation, metadata } = score
  const set = {
    value,
    passed: passed ?? null,
    explanation: explanation == null ? null : storableText(explanation),
    metadata: jsonb(metadata ?? {}),
    created_by_type: by.type,
    created_by: by.uid,
    updated_at: sql<Date>`now()`,
  }
  const row = await tx
    .insertInto('run_scores')
    .values({ run_id: runId, scorer: score.scorer, ...set })
    .onConflict((conflict) => conflict.columns(['run_id', 'scorer']).doUpdateSet(set))
    .returning(columns)
    .executeTakeFirstOrThrow()
  return itemOf(row)
}

const columns = ['scorer', 'value', 'passed', 'explanation', 'metadata', 'updated_at'] as const

/** Of each run that has any, by scorer. */
export async function scoresOf(db: Queryable, runIds: readonly string[]): Promise<Map<string, ScoreItem[]>> {
  const found = new Map<string, ScoreItem[]>()
  if (runIds.length === 0) return found
  const rows = await db
    .selectFrom('run_scores')
    .select(['run_id', ...columns])
    .where('run_id', 'in', runIds)
    .orderBy('scorer')
    .execute()
  for (const { run_id: runId, ...row } of rows) found.set(runId, [...(found.get(runId) ?? []), itemOf(row)])
  return found
}

type Row = Omit<ScoreItem, 'scored_at'> & { updated_at: Date }

const itemOf = ({ updated_at: at, ...row }: Row): ScoreItem => ({ ...row, scored_at: at.toISOString() })
