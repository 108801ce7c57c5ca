// The process of its own that starts programs for a host (launcher.ts). It ends when the host does; what it has started goes on.
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import type { LaunchAnswer, LaunchRequest } from './launcher.ts'

process.on('message', (message) => launch(message as LaunchRequest))
process.once('disconnect', () => process.exit())

function launch({ id, host, command, env, stdio }: LaunchRequest): void {
  const tell = (answer: LaunchAnswer) => process.send?.(answer)
  const opened: number[] = []
  try {
    // What the host has open is the file itself, whatever its path leads to by now.
    for (const { fd, flags } of stdio) opened.push(openSync(`/proc/${host}/fd/${fd}`, flags))
    const streams = opened.length > 0 ? opened : ['ignore' as const, 'ignore' as const, 'ignore' as const]
    const [program = '', ...args] = command
    const child = spawn(program, args, { cwd: '/', env, detached: true, stdio: [...streams, 'pipe'] })
    child.once('spawn', () => tell({ id, kind: 'spawned' }))
    child.once('error', ({ message }) => tell({ id, kind: 'failed', reason: message }))
    child.unref()
    const said = child.stdio[3]
    said?.once('error', () => {}) // It is closed then, which tells as much.
    said?.once('close', () => tell({ id, kind: 'started' }))
    said?.once('data', () => said.destroy())
  } catch (error) {
    tell({ id, kind: 'failed', reason: String(error) })
  } finally {
    for (const fd of opened) closeSync(fd)
  }
}
