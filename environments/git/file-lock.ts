// Locks between processes of this machine, free again as soon as all who hold them are dead.
import { spawn } from 'node:child_process'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { isErrno } from '../errno.ts'

export type LockKind = 'shared' | 'exclusive'

export interface LockOptions {
  kind: LockKind
  signal: AbortSignal
  /** False: null is the answer where others hold it. */
  wait: boolean
}

/**
 * Locks a file, made where it is missing. The lock is held until the handle is
 * closed here and in every program that was started with it.
 */
export async function lockFile(path: string, { kind, signal, wait }: LockOptions): Promise<FileHandle | null> {
  for (;;) {
    signal.throwIfAborted()
    const file = await open(path, 'a', 0o600)
    try {
      if (!(await flock(file, kind, wait, signal))) {
        await file.close()
        return null
      }
      if (await isStillAt(file, path)) return file
      // Whoever held it has removed the file: the lock of another one counts now.
      await file.close()
    } catch (error) {
      await file.close()
      throw error
    }
  }
}

/** Node has no call for it. The lock belongs to the open file, which this process keeps when the program has ended. */
async function flock(file: FileHandle, kind: LockKind, wait: boolean, signal: AbortSignal): Promise<boolean> {
  const args = [kind === 'shared' ? '--shared' : '--exclusive', ...(wait ? [] : ['--nonblock']), '3']
  const child = spawn('flock', args, {
    stdio: ['ignore', 'ignore', 'ignore', file.fd],
    env: { PATH: '/usr/bin:/bin' },
  })
  const end = () => child.kill('SIGKILL')
  signal.addEventListener('abort', end, { once: true })
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', resolve)
    })
    signal.throwIfAborted()
    if (code !== 0 && (wait || code !== 1)) throw new Error(`flock ended with ${code}`)
    return code === 0
  } finally {
    signal.removeEventListener('abort', end)
  }
}

async function isStillAt(file: FileHandle, path: string): Promise<boolean> {
  try {
    const [held, named] = await Promise.all([file.stat(), stat(path)])
    return held.ino === named.ino && held.dev === named.dev
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}
