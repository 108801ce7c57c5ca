// The log of a build: what its set-up has written, line by line.
import { sql } from 'kysely'
import type { BuildLogLine, BuildState } from '../../domain/environment.ts'
import type { BuildLog } from '../../domain/host-api.ts'
import type { Db, Queryable } from '../database.ts'
import { storableText } from '../json.ts'
import { EVENTS_CHANNEL } from '../listener.ts'

/** Most that is kept of one build's log: what a set-up prints has no end of its own. */
export const LOG_BYTES = 16 * 1024 * 1024
/** Most of one line, in characters. */
export const LINE_CHARS = 64 * 1024

/** The source of what the server itself says in a log. */
const OWN_SOURCE = 'server'

const WHOLE = `The log has come to ${LOG_BYTES / 1024 ** 2} MiB. What comes after this is not kept.`

/** Lines that are there already are left as they are. The first words of its host say that the build has begun. */
export async function appendBuildLog(db: Db, buildId: string, { source, lines }: BuildLog): Promise<void> {
  await db.transaction().execute(async (tx) => {
    // One writer at a time: a reader goes by the positions, and must not pass one that is not committed yet.
    const build = await tx
      .selectFrom('builds')
      .select(['log_bytes', 'started_at'])
      .where('id', '=', buildId)
      .forNoKeyUpdate()
      .executeTakeFirstOrThrow()
    let bytes = build.log_bytes
    const kept: { source: string; line: number; text: string }[] = []
    for (const { line, text } of lines) {
      if (bytes >= LOG_BYTES) break
      const short = text.length > LINE_CHARS ? `${text.slice(0, LINE_CHARS)} (cut: the line is longer)` : text
      const stored = storableText(short)
      bytes += Buffer.byteLength(stored)
      kept.push({ source, line, text: stored })
    }
    if (bytes >= LOG_BYTES && build.log_bytes < LOG_BYTES) kept.push({ source: OWN_SOURCE, line: 1, text: WHOLE })
    const { rows } = await sql<{ bytes: number | null }>`
      with fresh as (
        insert into build_log (build_id, source, line, text)
        select ${buildId}::uuid, source, line, text
        from unnest(
          ${kept.map((each) => each.source)}::text[], ${kept.map((each) => each.line)}::integer[],
          ${kept.map((each) => each.text)}::text[]
        ) with ordinality as given (source, line, text, number)
        order by number
        on conflict do nothing
        returning text
      )
      select sum(octet_length(text)) as bytes from fresh
    `.execute(tx)
    const fresh = rows[0]?.bytes ?? 0
    if (fresh === 0 && build.started_at !== null) return
    await tx
      .updateTable('builds')
      .set({
        log_bytes: build.log_bytes + fresh,
        started_at: sql`case when finished_at is null then coalesce(started_at, now()) else started_at end`,
      })
      .where('id', '=', buildId)
      .execute()
    await sql`select pg_notify(${EVENTS_CHANNEL}, ${buildId})`.execute(tx)
  })
}

/** The lines after a position, in order. */
export async function readBuildLog(
  db: Queryable,
  buildId: string,
  after: number,
  limit: number,
): Promise<BuildLogLine[]> {
  const rows = await db
    .selectFrom('build_log')
    .select(['position', 'time', 'source', 'line', 'text'])
    .where('build_id', '=', buildId)
    .where('position', '>', after)
    .orderBy('position')
    .limit(limit)
    .execute()
  return rows.map((row) => ({ ...row, time: row.time.toISOString() }))
}

/** What a reader needs to know to tell whether more is to come. Null when there is no such build. */
export async function buildLogEnd(
  db: Queryable,
  buildId: string,
): Promise<{ state: BuildState; last: number; isOver: boolean } | null> {
  const { rows } = await sql<{ state: BuildState; last: number; is_over: boolean }>`
    select
      case when state = 'QUEUED' and started_at is not null then 'BUILDING' else state end as state,
      coalesce((select max(position) from build_log where build_id = builds.id), 0) as last,
      finished_at is not null as is_over
    from builds where id = ${buildId}
  `.execute(db)
  const [row] = rows
  return row ? { state: row.state, last: row.last, isOver: row.is_over } : null
}
