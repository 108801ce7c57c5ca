// What hosts ask of the server. Every route is safe to repeat; an execution that is over is refused with 409.
import type { Request, Router } from 'express'
import {
  AppendEvents,
  type Appended,
  BlockedHosts,
  type ClaimAnswer,
  ClaimRequest,
  CredentialBinding,
  CredentialRequest,
  ExecutionOrder,
  GitCredential,
  GitCredentialRequest,
  HostReport,
  type HostStanding,
  type RunCredential,
  RunResult,
  type SweepAnswer,
  SweepRequest,
} from '../../domain/host-api.ts'
import { hostLimits } from '../../runs/limits.ts'
import { issueRunGitToken } from '../../store/git/tokens.ts'
import { buildsToRemove, reportHost, runsToRemove, runsToSave, runsToStop } from '../../store/hosts/hosts.ts'
import { releaseKept } from '../../store/hosts/workers.ts'
import { keepLineMoving } from '../../store/queue/admission.ts'
import { saveBlockedHosts } from '../../store/runs/blocked-hosts.ts'
import { claimExecution } from '../../store/runs/claims.ts'
import { bindCredential, issueCredentials, issueToolCredential } from '../../store/runs/credentials.ts'
import { appendEvents, journalPosition } from '../../store/runs/events.ts'
import { messageText } from '../../store/runs/mail.ts'
import { PULL_REQUEST_JOURNAL } from '../../store/runs/pull-requests.ts'
import { saveResult } from '../../store/runs/results.ts'
import { findOrder } from '../../store/runs/runs.ts'
import { STATE_JOURNAL } from '../../store/runs/states.ts'
import { TOOLS_JOURNAL } from '../../store/runs/tool-calls.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid, notFound } from '../errors.ts'
import { parse, parseBody, pathId, queryOf, runId } from '../parse.ts'
import { giveSecrets, openedEnvironment } from './given-secrets.ts'
import { callerOf, hostRouter, ofAnotherPool, strangerTo } from './host-auth.ts'
import { brokeredForRun } from './host-git.ts'

/** What is in them, no host may say. */
const serversJournals: readonly string[] = [STATE_JOURNAL, TOOLS_JOURNAL, PULL_REQUEST_JOURNAL]

export function hostRoutes(deps: ApiDeps): Router {
  const { db, config, vault } = deps
  const router = hostRouter({ db })

  async function orderOf(ref: ExecutionRef, { late = false } = {}): Promise<ExecutionOrder> {
    const { config: asked, ...order } = await findOrder(db, ref, { late })
    const { environment, trouble } = openedEnvironment(vault, order.environment)
    // What is late is handed over, and starts nothing.
    const [given, git] = await Promise.all([
      late ? {} : giveSecrets({ db, vault }, ref),
      brokeredForRun(deps, ref.runId, environment.repos),
    ])
    return parse(ExecutionOrder, { ...order, ...given, ...trouble, git, environment, ...hostLimits(config, asked) })
  }

  /** The claim stands, and the host asks by itself: what is wrong is the answer to that. */
  function notTold({ runId }: ExecutionRef, error: unknown): null {
    deps.log.warn({ run: runId, err: error }, 'an order could not be told with its claim')
    return null
  }

  router.put('/hosts/:hostId', async (request, response) => {
    const report = parseBody(HostReport, request)
    const caller = callerOf(response)
    if (caller.keyPool !== null && report.pool !== caller.keyPool) throw ofAnotherPool(caller.keyPool)
    const noted = await reportHost(db, caller, report)
    if (noted === null) throw strangerTo(caller.hostId)
    // What has ended since it was told to drain.
    if (noted.draining) await releaseKept(db, caller.hostId)
    // It may be new, or back, or have more room than it had.
    await keepLineMoving(db)
    response.json({ draining: noted.draining, gateway_port: config.AMBIENT_GATEWAY_PORT } satisfies HostStanding)
  })

  router.post('/hosts/:hostId/claims', async (request, response) => {
    const { run_id: id, execution } = parseBody(ClaimRequest, request)
    const ref = { runId: id.toLowerCase(), execution }
    const outcome = await claimExecution(db, ref, callerOf(response).hostId)
    const order = outcome === 'claimed' ? await orderOf(ref).catch((error: unknown) => notTold(ref, error)) : null
    response.json({ outcome, ...(order && { order }) } satisfies ClaimAnswer)
  })

  router.post('/hosts/:hostId/sweep', async (request, response) => {
    const { run_ids: runIds } = parseBody(SweepRequest, request)
    const { hostId } = callerOf(response)
    const [runs, builds, stop, outdated] = await Promise.all([
      runsToRemove(db, hostId, runIds),
      buildsToRemove(db, hostId, runIds),
      runsToStop(db, hostId, runIds),
      runsToSave(db, hostId, runIds),
    ])
    const save = runs.filter((id) => outdated.includes(id))
    response.json({ remove: [...runs, ...builds], stop, save } satisfies SweepAnswer)
  })

  router.get('/runs/:runId/executions/:execution', async (request, response) => {
    response.json(await orderOf(executionOf(request), { late: queryOf(request).get('late') === 'true' }))
  })

  router.get('/runs/:runId/messages/:messageId', async (request, response) => {
    const id = pathId(request, 'messageId', 'message')
    const message = await messageText(db, runId(request), id)
    if (message === null) throw notFound(`The run has no message ${id}.`)
    response.json(message)
  })

  router.post('/runs/:runId/executions/:execution/credential', async (request, response) => {
    const { binds, binding } = parseBody(CredentialRequest, request)
    const from = binding ?? (binds ? ({ kind: 'nowhere' } as const) : null)
    const { token, toolToken } = await issueCredentials(db, executionOf(request), from)
    response.json({ token, tool_token: toolToken, bound: binding !== null } satisfies RunCredential)
  })

  router.put('/runs/:runId/executions/:execution/binding', async (request, response) => {
    await bindCredential(db, executionOf(request), parseBody(CredentialBinding, request))
    response.json({})
  })

  router.post('/runs/:runId/executions/:execution/tool-credential', async (request, response) => {
    response.json({ tool_token: await issueToolCredential(db, executionOf(request)) })
  })

  router.post('/runs/:runId/executions/:execution/git-credential', async (request, response) => {
    const { for_host: forHost, binding } = parseBody(GitCredentialRequest, request)
    const token = await issueRunGitToken(db, executionOf(request), { forHost, binding })
    response.json(parse(GitCredential, { git_token: token }))
  })

  router.post('/runs/:runId/executions/:execution/events', async (request, response) => {
    const { journal, events, read_to: readTo } = parseBody(AppendEvents, request)
    if (serversJournals.includes(journal)) throw invalid(`journal: "${journal}" is the server's own`)
    const { line, transcriptBytes } = await appendEvents(db, { ...executionOf(request), journal, events, readTo })
    response.json({ line, transcript_bytes: transcriptBytes } satisfies Appended)
  })

  router.get('/runs/:runId/journals/:journal', async (request, response) => {
    response.json({ line: await journalPosition(db, runId(request), String(request.params.journal)) })
  })

  router.put('/runs/:runId/executions/:execution/blocked-hosts', async (request, response) => {
    await saveBlockedHosts(db, executionOf(request), parseBody(BlockedHosts, request))
    response.json({})
  })

  router.put('/runs/:runId/executions/:execution/result', async (request, response) => {
    await saveResult(db, executionOf(request), parseBody(RunResult, request))
    response.json({})
  })

  return router
}

export function executionOf(request: Request): ExecutionRef {
  const text = String(request.params.execution)
  if (!/^[1-9]\d{0,8}$/.test(text)) throw notFound(`There is no execution ${text}.`)
  return { runId: runId(request), execution: Number(text) }
}
