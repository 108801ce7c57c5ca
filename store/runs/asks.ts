// What agents want to know of people: asked by a tool, opened as a question when the turn has ended.
import type { AgentQuestion } from '../../workflows/contract.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { newUid } from '../uid.ts'

export interface NewAsk {
  runId: string
  /** The message that the agent works on. */
  mailId: string
  title: string
  options: readonly string[]
  freeText: boolean
  number: number
}

/** Writes a question; @returns its id. The caller holds the run's lock. */
export async function insertAsk(tx: Tx, ask: NewAsk): Promise<{ uid: string; options: AgentQuestion['options'] }> {
  const uid = newUid()
  const options = ask.options.map((name, index) => ({ optionId: `option-${index + 1}`, name, kind: 'answer' }))
  await tx
    .insertInto('asks')
    .values({
      uid,
      run_id: ask.runId,
      mail_id: ask.mailId,
      title: ask.title,
      options: jsonb(options),
      free_text: ask.freeText,
      number: ask.number,
    })
    .execute()
  return { uid, options }
}

/** The message that a run has taken up last, as a query. */
export const messageTaken = (db: Queryable, runId: string) =>
  db
    .selectFrom('mail')
    .select('id')
    .where('run_id', '=', runId)
    .where('kind', '=', 'prompt')
    .where('accepted_at', 'is not', null)
    .orderBy('accepted_at', 'desc')
    .orderBy('position', 'desc')
    .limit(1)

/** Null before the first one. */
export async function messageInHand(db: Queryable, runId: string): Promise<string | null> {
  return (await messageTaken(db, runId).executeTakeFirst())?.id ?? null
}

/** Longest title of a question, in characters, where it passes through workflow history. Readers get the whole one. */
const TITLE_CHARS = 300

/**
 * What the agent has asked since the run took up its latest message, and nobody
 * has been asked yet. Of several the last one, which names the others' subjects
 * no worse than they do: an agent is told to ask one thing and end its turn.
 */
export async function askOfTurn(db: Queryable, runId: string): Promise<AgentQuestion | null> {
  const row = await db
    .selectFrom('asks')
    .select(['uid', 'title', 'options'])
    .where('run_id', '=', runId)
    .where('mail_id', '=', messageTaken(db, runId))
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst()
  if (!row) return null
  const { uid, title, options } = row
  const short = title.length <= TITLE_CHARS ? title : `${title.slice(0, TITLE_CHARS - 1).toWellFormed()}…`
  return { questionId: uid, title: short, options }
}

/** Null for a question that is not of this kind. */
export async function findAsk(
  db: Queryable,
  runId: string,
  uid: string,
): Promise<{ title: string; options: AgentQuestion['options']; freeText: boolean } | null> {
  const row = await db
    .selectFrom('asks')
    .select(['title', 'options', 'free_text as freeText'])
    .where('run_id', '=', runId)
    .where('uid', '=', uid)
    .executeTakeFirst()
  return row ?? null
}
