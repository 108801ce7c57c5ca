// What hosts ask of the server. Every route is safe to repeat; an execution that is over is refused with 409.
import { type Request, Router } from 'express'
import { AppendEvents, ExecutionOrder, HostReport, RunResult, SweepRequest } from '../domain/host-api.ts'
import { issueCredential } from '../store/credentials.ts'
import { appendEvents, journalPosition } from '../store/events.ts'
import { reportHost, runsToRemove } from '../store/hosts.ts'
import { promptText } from '../store/mail.ts'
import { saveResult } from '../store/results.ts'
import { findOrder } from '../store/runs.ts'
import { STATE_JOURNAL } from '../store/states.ts'
import type { ApiDeps } from './deps.ts'
import { invalid, notFound } from './errors.ts'
import { parse, parseBody, pathId, runId } from './parse.ts'

export function hostRoutes({ db }: ApiDeps): Router {
  const router = Router()

  router.put('/hosts/:hostId', async (request, response) => {
    await reportHost(db, hostId(request), parseBody(HostReport, request))
    response.json({})
  })

  router.post('/hosts/:hostId/sweep', async (request, response) => {
    const { run_ids: runIds } = parseBody(SweepRequest, request)
    response.json({ remove: await runsToRemove(db, hostId(request), runIds) })
  })

  router.get('/runs/:runId/executions/:execution', async (request, response) => {
    const order = await findOrder(db, executionOf(request))
    response.json(parse(ExecutionOrder, order))
  })

  router.get('/runs/:runId/messages/:messageId', async (request, response) => {
    const id = pathId(request, 'messageId', 'message')
    const text = await promptText(db, runId(request), id)
    if (text === null) throw notFound(`The run has no message ${id}.`)
    response.json({ message_id: id, text })
  })

  router.post('/runs/:runId/executions/:execution/credential', async (request, response) => {
    response.json({ token: await issueCredential(db, executionOf(request)) })
  })

  router.post('/runs/:runId/executions/:execution/events', async (request, response) => {
    const { journal, events, read_to: readTo } = parseBody(AppendEvents, request)
    if (journal === STATE_JOURNAL) throw invalid(`journal: "${STATE_JOURNAL}" is the server's own`)
    response.json({ line: await appendEvents(db, { ...executionOf(request), journal, events, readTo }) })
  })

  router.get('/runs/:runId/journals/:journal', async (request, response) => {
    response.json({ line: await journalPosition(db, runId(request), String(request.params.journal)) })
  })

  router.put('/runs/:runId/executions/:execution/result', async (request, response) => {
    await saveResult(db, executionOf(request), parseBody(RunResult, request))
    response.json({})
  })

  return router
}

function hostId(request: Request): string {
  const id = String(request.params.hostId)
  if (!/^[\w.-]{1,100}$/.test(id))
    throw invalid('host id: must be 1 to 100 letters, digits, dots, dashes or underscores')
  return id
}

function executionOf(request: Request): { runId: string; execution: number } {
  const text = String(request.params.execution)
  if (!/^[1-9]\d{0,8}$/.test(text)) throw notFound(`There is no execution ${text}.`)
  return { runId: runId(request), execution: Number(text) }
}
