// What the object store has: each content is noted before it is written, so that none is there that nobody knows of.
import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import type { Queryable } from '../database.ts'
import { newUid } from '../uid.ts'

/** Notes a content that is about to be stored under the uid that this answers with. */
export async function noteContent(db: Queryable, content: Uint8Array): Promise<string> {
  const uid = newUid()
  const sha256 = createHash('sha256').update(content).digest('hex')
  await db.insertInto('contents').values({ uid, bytes: content.length, sha256 }).execute()
  return uid
}

/** Whoever has written a content names it within seconds. */
const UNNAMED_HOURS = 24

/** Contents that nothing names: left by a process that died, by a call that was made twice, or by a run that is gone. */
export async function unnamedContents(db: Queryable, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('contents')
    .select('uid')
    .where('created_at', '<', sql<Date>`now() - make_interval(hours => ${UNNAMED_HOURS})`)
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('artifacts').select('uid').whereRef('artifacts.content_uid', '=', 'contents.uid'))),
    )
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('attachments').select('uid').whereRef('attachments.content_uid', '=', 'contents.uid'))),
    )
    .limit(limit)
    .execute()
  return rows.map(({ uid }) => uid)
}

/** After the object is gone. */
export async function forgetContent(db: Queryable, uid: string): Promise<void> {
  await db.deleteFrom('contents').where('uid', '=', uid).execute()
}

/** Lets go of the contents of runs that ended so long ago: what they were is still told. */
export async function releaseOldContents(db: Queryable, days: number): Promise<void> {
  for (const table of ['artifacts', 'attachments'] as const) {
    await db
      .updateTable(table)
      .set({ content_uid: null })
      .where('content_uid', 'is not', null)
      .where('run_id', 'in', (eb) =>
        eb
          .selectFrom('runs')
          .select('id')
          .where('finished_at', '<', sql<Date>`now() - make_interval(days => ${days}::integer)`),
      )
      .execute()
  }
}
