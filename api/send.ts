// Long answers, sent as they are read.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Response } from 'express'

/** However long it is, only the piece that is being sent is held. */
export async function pipeUnlessGone(pieces: AsyncGenerator<string>, response: Response): Promise<void> {
  try {
    await pipeline(Readable.from(pieces), response)
  } catch (error) {
    // Whoever asked has gone away.
    if (error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE') return
    throw error
  }
}
