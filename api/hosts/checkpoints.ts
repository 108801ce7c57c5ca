// Checkpoints on their way between hosts and the database, a piece at a time.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Request, Router } from 'express'
import { CheckpointSummary, SUMMARY_BYTES } from '../../domain/checkpoint.ts'
import { CHECKPOINT_TYPE } from '../../domain/host-api.ts'
import { contentSeals } from '../../secrets/vault/contents.ts'
import { findCheckpoint, readCheckpoint, saveCheckpoint } from '../../store/runs/checkpoints.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { parse } from '../parse.ts'
import { hostRouter } from './host-auth.ts'
import { executionOf } from './hosts.ts'

const PATH = '/runs/:runId/executions/:execution'

/** The setting counts what is in a checkpoint, a host sends it compressed: a little more than that only where nothing can be compressed. */
const MARGIN = 1.01

const MIB = 1024 * 1024
const NEWLINE = 10

export function checkpointRoutes({ db, config, vault }: ApiDeps): Router {
  const router = hostRouter({ db })
  const seals = contentSeals(vault)
  const limit = config.AMBIENT_CHECKPOINT_MB * MIB * MARGIN
  const history = { count: config.AMBIENT_CHECKPOINTS, bytes: config.AMBIENT_CHECKPOINTS_MB * MIB }

  async function save(request: Request, late: boolean): Promise<{ bytes: number }> {
    const sent = request.is(CHECKPOINT_TYPE) ? await withSummary(request) : { summary: null, content: parts(request) }
    try {
      const content = bounded(sent.content, limit)
      const { bytes } = await saveCheckpoint(db, executionOf(request), { ...sent, content, late }, history, seals)
      return { bytes }
    } finally {
      // What is still on its way is read, so that the next request can follow it.
      request.resume()
    }
  }

  router.put(`${PATH}/checkpoint`, async (request, response) => void response.json(await save(request, false)))
  router.put(`${PATH}/late-checkpoint`, async (request, response) => void response.json(await save(request, true)))

  router.get(`${PATH}/checkpoint`, async (request, response) => {
    const ref = executionOf(request)
    const checkpoint = await findCheckpoint(db, ref)
    if (checkpoint === null) throw notFound(`The run ${ref.runId} has no checkpoint.`)
    response.type('application/octet-stream').set('content-length', String(checkpoint.bytes))
    await pipeline(Readable.from(readCheckpoint(db, checkpoint, seals)), response).catch((error: unknown) => {
      // Whoever asked has gone away.
      if (error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE') return
      throw error
    })
  })

  return router
}

/** The connection stays for the answer, whatever is thrown in between. */
const parts = (request: Request) => request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>

/** The first line, and what comes after it. */
async function withSummary(request: Request): Promise<{ summary: CheckpointSummary; content: AsyncIterable<Buffer> }> {
  const iterator = parts(request)[Symbol.asyncIterator]()
  try {
    let line = Buffer.alloc(0)
    for (;;) {
      const { value, done } = await iterator.next()
      if (done) throw invalid('the body: has no line that says what it is')
      line = Buffer.concat([line, value])
      const end = line.indexOf(NEWLINE)
      if ((end < 0 ? line.length : end) > SUMMARY_BYTES) throw invalid('the body: its first line is too long')
      if (end < 0) continue
      const summary = parse(CheckpointSummary, parsedJson(line.toString('utf8', 0, end)))
      return { summary, content: from(line.subarray(end + 1), iterator) }
    }
  } catch (error) {
    await iterator.return?.()
    throw error
  }
}

async function* from(first: Buffer, iterator: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield first
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value
  } finally {
    // Its listeners go, so that what is left can be read away.
    await iterator.return?.()
  }
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw invalid('the body: its first line is not JSON')
  }
}

async function* bounded(content: AsyncIterable<Buffer>, limit: number): AsyncGenerator<Buffer> {
  let bytes = 0
  for await (const part of content) {
    bytes += part.length
    if (bytes > limit) {
      const detail = 'The checkpoint is larger than AMBIENT_CHECKPOINT_MB of the server.'
      throw new HttpError(413, 'payload_too_large', detail)
    }
    yield part
  }
}
