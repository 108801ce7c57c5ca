// The transcript, by pages or as a stream, and the timeline.
import { type Request, Router } from 'express'
import { type EventKind, eventKinds } from '../../domain/event.ts'
import { either } from '../../domain/issue-words.ts'
import { readEvents, transcriptEnd } from '../../store/runs/events.ts'
import { readTimeline } from '../../store/runs/timeline.ts'
import { isRefusedNow } from '../access/identify.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid, notFound } from '../errors.ts'
import { limitOf } from '../page.ts'
import { onlyMethods, queryOf, wholeNumber } from '../parse.ts'
import { runFor } from './run-access.ts'
import { streamEvents } from './stream.ts'

const DEFAULT_LIMIT = 100
const MAX_SEQUENCE = 2 ** 31 - 1

export function eventRoutes(deps: ApiDeps): Router {
  const router = Router()

  router
    .route('/runs/:runId/events')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.view')
      const query = queryOf(request)
      const wantsStream = request.accepts(['application/json', 'text/event-stream']) === 'text/event-stream'
      const after = startOf(request, query, wantsStream)
      const limit = limitOf(query, DEFAULT_LIMIT)
      const end = await transcriptEnd(deps.db, id)
      if (!end) throw notFound(`There is no run ${id}.`)
      if (wantsStream) {
        const endless = query.get('follow') === 'always'
        const isRefused = () => isRefusedNow(response, () => runFor(deps, request, response, 'runs.view'))
        await streamEvents(deps, request, response, { runId: id, after, endless, isRefused })
        return
      }
      const kinds = kindsOf(query)
      const events = await readEvents(deps.db, id, after, limit, kinds)
      // Of some kinds only: a page that is not full is the last one.
      const isAll = kinds.length > 0 && events.length < limit
      const reached = isAll ? end.lastSequence : (events.at(-1)?.sequence ?? after)
      // Read again: what was stored between the two reads is on this page.
      const lastSequence = Math.max(end.lastSequence, reached)
      const hasNext = reached < lastSequence
      response.json({
        events,
        page_info: {
          has_next_page: hasNext,
          next_cursor: hasNext ? String(reached) : null,
          last_sequence: lastSequence,
        },
      })
    })
    .all(onlyMethods('GET'))

  router
    .route('/runs/:runId/timeline')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.view')
      response.json({ events: await readTimeline(deps.db, id) })
    })
    .all(onlyMethods('GET'))

  return router
}

function kindsOf(query: URLSearchParams): EventKind[] {
  return query.getAll('kind').map((kind) => {
    const known = eventKinds.find((candidate) => candidate === kind)
    if (!known) throw invalid(`kind: must be ${either(eventKinds)}`)
    return known
  })
}

/** The sequence to begin after. A stream's reader that comes back names the last one it got. */
function startOf(request: Request, query: URLSearchParams, isStream: boolean): number {
  const lastEventId = isStream ? request.get('last-event-id') : undefined
  if (lastEventId) return wholeNumber(lastEventId, 'Last-Event-ID', 0, MAX_SEQUENCE)
  return wholeNumber(query.get('after') ?? '0', 'after', 0, MAX_SEQUENCE)
}
