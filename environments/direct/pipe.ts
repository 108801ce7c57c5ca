// The agent's stdin: a pipe with a name, so that whoever comes can write to it.
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { ProcessEndedError } from '../../domain/journal.ts'
import { isErrno } from '../errno.ts'
import { exists } from '../run-directory.ts'

const run = promisify(execFile)

/** How long to wait for an agent that does not read. */
const FULL_PIPE_MS = 5

export async function makePipe(path: string, searchPath: string): Promise<void> {
  if (exists(path)) return
  await run('mkfifo', ['-m', '600', path], { env: { PATH: searchPath } }).catch(async (error: unknown) => {
    // Another caller may have been faster.
    if (!exists(path)) throw error
  })
}

/** The pipe is not blocking, so that an agent that does not read holds up nobody else. */
export async function writeToPipe(path: string, bytes: Buffer, isOpen: () => boolean): Promise<void> {
  const ended = () => new ProcessEndedError('the agent has ended')
  if (!isOpen()) throw ended()
  await using pipe = await open(path, constants.O_WRONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw isErrno(error, 'ENXIO') ? ended() : error
  })
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += (await pipe.write(bytes, sent)).bytesWritten
    } catch (error) {
      if (isErrno(error, 'EPIPE')) throw ended()
      if (!isErrno(error, 'EAGAIN')) throw error
      if (!isOpen()) throw ended()
      await delay(FULL_PIPE_MS)
    }
  }
}
