// Checkpoints on their way between hosts and the database, a piece at a time.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Request, Router } from 'express'
import { findCheckpoint, readCheckpoint, saveCheckpoint } from '../store/checkpoints.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, notFound } from './errors.ts'
import { hostRouter } from './host-auth.ts'
import { executionOf } from './hosts.ts'

const PATH = '/runs/:runId/executions/:execution/checkpoint'

/** The setting counts what is in a checkpoint, a host sends it compressed: a little more than that only where nothing can be compressed. */
const MARGIN = 1.01

export function checkpointRoutes({ db, config }: ApiDeps): Router {
  const router = hostRouter({ db })
  const limit = config.AMBIENT_CHECKPOINT_MB * 1024 * 1024 * MARGIN

  router.put(PATH, async (request, response) => {
    const { bytes } = await saveCheckpoint(db, executionOf(request), bounded(request, limit))
    response.json({ bytes })
  })

  router.get(PATH, async (request, response) => {
    const ref = executionOf(request)
    const checkpoint = await findCheckpoint(db, ref)
    if (checkpoint === null) throw notFound(`The run ${ref.runId} has no checkpoint.`)
    response.type('application/octet-stream').set('content-length', String(checkpoint.bytes))
    await pipeline(Readable.from(readCheckpoint(db, checkpoint)), response).catch((error: unknown) => {
      // Whoever asked has gone away.
      if (error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE') return
      throw error
    })
  })

  return router
}

async function* bounded(request: Request, limit: number): AsyncGenerator<Buffer> {
  let bytes = 0
  try {
    // The connection stays for the answer, whatever is thrown here.
    for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += part.length
      if (bytes > limit) {
        const detail = 'The checkpoint is larger than AMBIENT_CHECKPOINT_MB of the server.'
        throw new HttpError(413, 'payload_too_large', detail)
      }
      yield part
    }
  } finally {
    // And what is still on its way is read, so that the next request can follow it.
    request.resume()
  }
}
