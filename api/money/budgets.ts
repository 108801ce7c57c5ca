// Budgets of the team, its people and schedules, and those of single runs.
import { Router } from 'express'
import type { z } from 'zod'
import { moneyRules } from '../../config.ts'
import {
  type BudgetItem,
  type BudgetList,
  ChangeBudget,
  fromMicro,
  NewBudget,
  RaiseBudget,
  type RunBudgets,
} from '../../domain/money/money.ts'
import type { MoneyRules } from '../../domain/money/rules.ts'
import { dollars } from '../../domain/money/text.ts'
import { microUsdOf } from '../../runs/money.ts'
import { note } from '../../store/audit.ts'
import type { Queryable } from '../../store/database.ts'
import { lockRun } from '../../store/locking.ts'
import {
  budgetsOfRun,
  changeBudget,
  deleteBudget,
  insertBudget,
  listBudgets,
  raiseRunBudget,
} from '../../store/money/budgets.ts'
import { isPayer } from '../../store/money/payers.ts'
import { refusalOfRun } from '../../store/money/refusal.ts'
import { tellRun } from '../../store/money/tell.ts'
import { callerOf, permit, roleIn } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { oneOf } from '../runs/list-query.ts'
import { runFor } from '../runs/run-access.ts'
import { sendOnNow } from './send-on.ts'

export function budgetRoutes(deps: ApiDeps): Router {
  const { db, config } = deps
  const rules = moneyRules(config)
  const router = Router()

  router
    .route('/budgets')
    .get(permit('budgets.view'), async (request, response) => {
      const query = queryOf(request)
      const filter = {
        scope: oneOf(query, 'scope', ['schedule', 'person', 'team']),
        thing: query.get('uid') || undefined,
      }
      const budgets = await listBudgets(db, rules, callerOf(response).team, filter)
      response.json({ budgets } satisfies z.infer<typeof BudgetList>)
    })
    .post(permit('budgets.manage'), async (request, response) => {
      const caller = callerOf(response)
      const { team } = caller
      const body = parseBody(NewBudget, request)
      const { scope, period } = body
      const thing = thingOf(body, team)
      const answer = await once(deps, request, response, 'POST /agent/budgets', async (tx) => {
        if (!(await isPayer(tx, team, scope, thing))) throw invalid(`uid: the team has no ${scope} ${thing}`)
        const limit = { microUsd: microUsdOf(rules, body), percents: body.alert_percents ?? undefined }
        const uid = await insertBudget(tx, { team, scope, thing, period }, limit, caller)
        if (uid === null)
          throw new HttpError(409, 'conflict', `There is a budget of this ${scope} for ${periodWords[period]} already.`)
        const detail = { scope, scope_uid: thing, period, limit_usd: fromMicro(limit.microUsd) }
        await note(tx, { caller, action: 'budgets.create', thing: { type: 'budget', uid, team }, detail })
        return { status: 201, response: await budgetOf(tx, rules, team, uid) }
      })
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/budgets/:budgetUid')
    .get(permit('budgets.view'), async (request, response) => {
      response.json(await budgetOf(db, rules, callerOf(response).team, request.params.budgetUid))
    })
    .put(permit('budgets.manage'), async (request, response) => {
      const caller = callerOf(response)
      const { team } = caller
      const uid = request.params.budgetUid
      const body = parseBody(ChangeBudget, request)
      const limit = { microUsd: microUsdOf(rules, body), percents: body.alert_percents ?? undefined }
      const changed = await db.transaction().execute(async (tx) => {
        const before = await budgetOf(tx, rules, team, uid)
        await changeBudget(tx, rules, { team, uid }, limit)
        const detail = { limit_usd: fromMicro(limit.microUsd), former_limit_usd: before.limit.usd }
        await note(tx, { caller, action: 'budgets.update', thing: { type: 'budget', uid, team }, detail })
        return await budgetOf(tx, rules, team, uid)
      })
      await sendOnNow(deps, team)
      response.json(changed)
    })
    .delete(permit('budgets.manage'), async (request, response) => {
      const caller = callerOf(response)
      const { team } = caller
      const uid = request.params.budgetUid
      await db.transaction().execute(async (tx) => {
        if (!(await deleteBudget(tx, team, uid))) throw notFound(`There is no budget ${uid}.`)
        await note(tx, { caller, action: 'budgets.delete', thing: { type: 'budget', uid, team } })
      })
      await sendOnNow(deps, team)
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  router
    .route('/runs/:runId/budget')
    .get(async (request, response) => {
      const { id, team } = await runFor(deps, request, response, 'runs.view')
      const state = await stateOf(db, rules, id)
      // Whom a run is shared with sees what that run may cost, and nothing of its team's.
      const isMember = roleIn(callerOf(response), team) !== null
      const budgets = isMember
        ? state.budgets
        : state.budgets.filter(({ scope }) => scope === 'run' || scope === 'tree')
      response.json({ ...state, budgets } satisfies RunBudgets)
    })
    .post(async (request, response) => {
      const { id, team } = await runFor(deps, request, response, 'budgets.raise')
      const caller = callerOf(response)
      const body = parseBody(RaiseBudget, request)
      const answer = await once(deps, request, response, `POST /agent/runs/${id}/budget`, async (tx) => {
        const run = await lockRun(tx, id)
        const microUsd = microUsdOf(rules, body)
        const { uid, before } = await raiseRunBudget(
          tx,
          rules,
          { team, scope: body.scope, runId: id },
          microUsd,
          caller,
        )
        const what = body.scope === 'run' ? 'this run' : 'this run and those that it begins'
        const former = before === null ? '' : `, after ${dollars(before)}`
        const message = `The budget of ${what} is ${dollars(microUsd)} now${former}.`
        await tellRun(tx, run, { what: 'raised', message, scope: body.scope, limit_usd: fromMicro(microUsd) })
        const detail = {
          budget_uid: uid,
          scope: body.scope,
          limit_usd: fromMicro(microUsd),
          former_limit_usd: before === null ? null : fromMicro(before),
        }
        await note(tx, { caller, action: 'budgets.raise', thing: { type: 'run', uid: id, team }, detail })
        return { status: 200, response: await stateOf(tx, rules, id) }
      })
      await sendOnNow(deps, team)
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  return router
}

const periodWords = { month: 'each month', total: 'all time' } as const

function thingOf({ scope, uid }: NewBudget, team: string): string {
  if (scope === 'team') {
    if (uid !== undefined && uid !== team) throw invalid('uid: is not for the scope "team": it is the active team')
    return team
  }
  if (uid === undefined) throw invalid(`uid: is needed, of the ${scope}`)
  return uid
}

async function budgetOf(db: Queryable, rules: MoneyRules, team: string, uid: string): Promise<BudgetItem> {
  const [budget] = await listBudgets(db, rules, team, { uid })
  if (!budget) throw notFound(`There is no budget ${uid}.`)
  return budget
}

async function stateOf(db: Queryable, rules: MoneyRules, runId: string): Promise<RunBudgets> {
  const [budgets, refusal] = [await budgetsOfRun(db, rules, runId), await refusalOfRun(db, rules, runId)]
  return {
    run_id: runId,
    stopped: refusal && { reason: refusal.reason, message: refusal.message },
    budgets,
  }
}
