// The team's credits, and the ledger that they come from.
import { Router } from 'express'
import { moneyRules } from '../../config.ts'
import { type Credits, type LedgerPage, NewGrant, toMicro } from '../../domain/money/money.ts'
import { ledgerKinds } from '../../domain/money/words.ts'
import { note } from '../../store/audit.ts'
import { enterGrant } from '../../store/money/charge.ts'
import { type LedgerFilter, listLedger, readCredits } from '../../store/money/credits.ts'
import { newUid } from '../../store/uid.ts'
import { type Caller, callerOf, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid } from '../errors.ts'
import { logPage } from '../log-page.ts'
import { once } from '../once.ts'
import { isUuid, onlyMethods, parseBody, queryOf } from '../parse.ts'
import { time } from '../runs/list-query.ts'
import { sendOnNow } from './send-on.ts'

export function creditRoutes(deps: ApiDeps): Router {
  const { db, config } = deps
  const rules = moneyRules(config)
  const router = Router()

  router
    .route('/credits')
    .get(permit('credits.view'), async (_request, response) => {
      const caller = callerOf(response)
      response.json((await readCredits(db, rules, caller.team, caller)) satisfies Credits)
    })
    .all(onlyMethods('GET'))

  router
    .route('/credits/grants')
    .post(permit('credits.grant'), async (request, response) => {
      const caller = callerOf(response)
      const { team } = caller
      const { kind, credits, usd, note: text } = parseBody(NewGrant, request)
      const answer = await once(deps, request, response, 'POST /agent/credits/grants', async (tx) => {
        const uid = newUid()
        const microCredits = toMicro(credits)
        const microUsd = usd != null ? toMicro(usd) : 0
        await enterGrant(tx, rules, { uid, team, kind, microCredits, microUsd, by: caller, note: text ?? null })
        const detail = { kind, credits, ...(usd != null && { usd }) }
        await note(tx, { caller, action: 'credits.grant', thing: { type: 'team', uid: team, team }, detail })
        return { status: 201, response: await readCredits(tx, rules, team, caller) }
      })
      await sendOnNow(deps, team)
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('POST'))

  router
    .route('/ledger')
    .get(permit('credits.view'), async (request, response) => {
      const query = queryOf(request)
      const filter = filterOf(query, callerOf(response))
      response.json((await logPage(query, (range) => listLedger(db, filter, range))) satisfies LedgerPage)
    })
    .all(onlyMethods('GET'))

  return router
}

function filterOf(query: URLSearchParams, { team }: Caller): LedgerFilter {
  const kinds = query.getAll('kind').filter((kind) => kind !== '')
  const runId = query.get('run_id') || undefined
  if (runId !== undefined && !isUuid(runId)) throw invalid('run_id: must be the id of a run')
  return {
    team,
    kinds: kinds.map((kind) => {
      const known = ledgerKinds.find((each) => each === kind)
      if (known === undefined) throw invalid(`kind: must be one of: ${ledgerKinds.join(', ')}`)
      return known
    }),
    person: query.get('person') || undefined,
    runId,
    scheduleId: query.get('schedule_id') || undefined,
    createdAfter: time(query, 'created_after'),
    createdBefore: time(query, 'created_before'),
  }
}
