// Starts programs in the host's stead. A fork takes the longer the more memory a process has, and all of it waits
// meanwhile: a host for tens of milliseconds, a small process for one.
import { type ChildProcess, fork } from 'node:child_process'
import type { FileHandle } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('launcher-process.ts', import.meta.url))

/** A program starts within milliseconds; a machine that needs longer is out of order. */
const START_MS = 10_000

export interface Stream {
  file: FileHandle
  /** How the program is to have it open. */
  flags: number
}

export interface Launch {
  command: readonly string[]
  /** All that the program gets of variables. */
  env: Readonly<Record<string, string>>
  /** Its stdin, stdout and stderr; absent, it has none of them. They have to be open until it is started. */
  stdio?: readonly Stream[]
}

export interface Launcher {
  /**
   * Starts a program in a session of its own. Over once that has written to its
   * descriptor 3, or has closed it, with its end at the latest.
   * @throws when it was not started, or may not have been.
   */
  launch(launch: Launch): Promise<void>
}

/** What the launcher's process is asked for. The streams are descriptors of the process `host`, which /proc leads to. */
export interface LaunchRequest {
  id: number
  host: number
  command: readonly string[]
  env: Readonly<Record<string, string>>
  stdio: readonly { fd: number; flags: number }[]
}

export type LaunchAnswer =
  /** It has the streams, and the host's own are needed no more. */
  | { id: number; kind: 'spawned' }
  /** It has said that it is up, or has ended. */
  | { id: number; kind: 'started' }
  | { id: number; kind: 'failed'; reason: string }

/** One process starts everything; it ends with this one, and where it has ended before, the next start brings another. */
export function createLauncher(): Launcher {
  let child = startProcess()
  return {
    async launch(launch) {
      if (child.hasEnded()) child = startProcess()
      await child.ask(launch)
    },
  }
}

function startProcess() {
  const waiting = new Map<number, PromiseWithResolvers<void> & { isSpawned: boolean }>()
  let ended: Error | null = null
  let count = 0
  const child = fork(PROGRAM, {
    cwd: '/',
    // Nothing of this process's own variables: they hold the worker's secrets.
    env: {},
    execArgv: [],
    // Ctrl-C in a terminal is not for it: it ends with its channel.
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  unref(child)

  function end(why: string): void {
    ended ??= new Error(`the process that starts programs ${why}`)
    for (const { reject } of waiting.values()) reject(ended)
    waiting.clear()
  }
  child.once('error', (error) => end(`could not be started: ${error.message}`))
  child.once('exit', (code, signal) => end(`has ended (${signal ?? `exit code ${code}`})`))
  child.on('message', (message) => {
    const answer = message as LaunchAnswer
    const start = waiting.get(answer.id)
    if (start === undefined) return
    if (answer.kind === 'spawned') start.isSpawned = true
    else if (answer.kind === 'started') start.resolve()
    else start.reject(new Error(answer.reason))
  })

  return {
    hasEnded: () => ended !== null || !child.connected,
    async ask({ command, env, stdio = [] }: Launch): Promise<void> {
      const id = ++count
      const answer = { ...Promise.withResolvers<void>(), isSpawned: false }
      waiting.set(id, answer)
      const late = setTimeout(() => {
        if (answer.isSpawned) return answer.reject(new Error(`a program was not up within ${START_MS} ms`))
        // It goes: by the time that it came to this start, the numbers of the streams could stand for other files.
        child.kill('SIGKILL')
        end(`did not start one within ${START_MS} ms`)
      }, START_MS)
      const streams = stdio.map(({ file: { fd }, flags }) => ({ fd, flags }))
      const request: LaunchRequest = { id, host: process.pid, command, env, stdio: streams }
      child.send(request, (error) => error && answer.reject(error))
      try {
        await answer.promise
      } finally {
        clearTimeout(late)
        waiting.delete(id)
      }
    },
  }
}

/** It keeps nobody from ending. */
function unref(child: ChildProcess): void {
  child.unref()
  child.channel?.unref()
}
