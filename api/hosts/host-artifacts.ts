// Files between hosts and the object store: what agents hand over, and what people send them.
import express, { type Router } from 'express'
import { type AskedInTurn, RefusedFile } from '../../domain/host-api.ts'
import { stopOfTurn } from '../../store/money/stops.ts'
import { tellStop } from '../../store/money/tell.ts'
import { settleWanted, wantedFiles } from '../../store/runs/artifacts.ts'
import { askOfTurn } from '../../store/runs/asks.ts'
import { attachmentContent } from '../../store/runs/attachments.ts'
import { keepContent, sendContent } from '../contents.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, notFound } from '../errors.ts'
import { parseBody, runId } from '../parse.ts'
import { hostRouter } from './host-auth.ts'
import { executionOf } from './hosts.ts'

const EXECUTION = '/runs/:runId/executions/:execution'

export function hostArtifactRoutes(deps: ApiDeps): Router {
  const { db, config } = deps
  const router = hostRouter({ db })
  const maxBytes = config.AMBIENT_ARTIFACT_MB * 1024 * 1024

  router.get(`${EXECUTION}/asked`, async (request, response) => {
    const { runId: id } = executionOf(request)
    const [question, stopped, files] = await Promise.all([askOfTurn(db, id), stopOfTurn(db, id), wantedFiles(db, id)])
    if (stopped !== null) await tellStop(db, id, stopped.questionId)
    response.json({ question, stopped, files, max_file_bytes: maxBytes } satisfies AskedInTurn)
  })

  router.put(
    `${EXECUTION}/artifacts/:uid`,
    express.raw({ type: 'application/octet-stream', limit: maxBytes }),
    async (request, response) => {
      if (!request.is('application/octet-stream') && Number(request.get('content-length') ?? 0) > 0)
        throw new HttpError(415, 'unsupported_media_type', 'A file is sent as application/octet-stream.')
      // Without a body there is nothing to parse, and nothing in the file.
      const content: Buffer = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
      const contentUid = await keepContent(deps, content)
      const outcome = { contentUid, bytes: content.length }
      await settleWanted(db, executionOf(request), String(request.params.uid), outcome)
      response.json({})
    },
  )

  router.post(`${EXECUTION}/artifacts/:uid/refused`, async (request, response) => {
    const { reason } = parseBody(RefusedFile, request)
    await settleWanted(db, executionOf(request), String(request.params.uid), { refused: reason })
    response.json({})
  })

  router.get('/runs/:runId/attachments/:uid', async (request, response) => {
    const uid = String(request.params.uid)
    const content = await attachmentContent(db, runId(request), uid)
    if (content === null) throw notFound(`The run has no attachment ${uid}.`)
    await sendContent(deps, response, content, { contentType: 'application/octet-stream', disposition: 'attachment' })
  })

  return router
}
