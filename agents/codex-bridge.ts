// What Codex's ACP adapter and Codex itself say to one another, put right on the way.

/** A module that the adapter's Node.js loads first; below the agent's home. */
export const CODEX_BRIDGE = '.ambient/codex-bridge.mjs'

/**
 * Three things cannot be had from the adapter's settings:
 *
 * - The adapter has Codex trust every directory that it works in, and then Codex starts the servers of tools and the
 *   hooks that a repository names in its `.codex`. Where nothing is said of a directory it takes instructions and skills
 *   alone from it; of one that is said not to be trusted, not even those.
 * - Codex asks before every command that is not known to be harmless only under
 *   its approval policy `untrusted`. Configuration has not known that policy
 *   since 0.149, the protocol of the app server still does. It is combined with
 *   no sandbox of Codex's own: that one cannot start in a container, and what
 *   it permits, it permits without asking. Where a message passes by
 *   unchanged, Codex stays in its read-only sandbox.
 * - Codex loses what a command says in its first moments when it tells the
 *   output in pieces, and tells all of it only at the end, which the adapter
 *   then passes over. Without the pieces the adapter tells the whole output.
 */
export function codexBridge({ asks }: { asks: boolean }): string {
  return `import child_process from 'node:child_process'
import { syncBuiltinESMExports } from 'node:module'
import { PassThrough } from 'node:stream'

const ASKS = ${asks}
const PIECE = 'item/commandExecution/outputDelta'
const { spawn } = child_process

child_process.spawn = (...call) => {
  const child = spawn(...call)
  if (Array.isArray(call[1]) && call[1].includes('app-server')) between(child)
  return child
}
syncBuiltinESMExports()

function between(codex) {
  const write = codex.stdin.write.bind(codex.stdin)
  codex.stdin.write = (message, ...rest) => write(asking(trustingNone(message)), ...rest)
  const told = new PassThrough()
  const { stdout } = codex
  let line = []
  stdout.on('data', (chunk) => {
    let from = 0
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      line.push(chunk.subarray(from, at + 1))
      const whole = line.length === 1 ? line[0] : Buffer.concat(line)
      if (!isPiece(whole) && !told.write(whole)) {
        stdout.pause()
        told.once('drain', () => stdout.resume())
      }
      line = []
      from = at + 1
    }
    if (from < chunk.length) line.push(chunk.subarray(from))
  })
  stdout.on('end', () => told.end(Buffer.concat(line)))
  stdout.on('error', (error) => told.destroy(error))
  Object.defineProperty(codex, 'stdout', { value: told })
}

function isPiece(line) {
  return line.includes(PIECE) && JSON.parse(line.toString()).method === PIECE
}

function trustingNone(text) {
  if (!text.includes('"trust_level"')) return text
  const message = JSON.parse(text)
  delete message.params?.config?.projects
  return JSON.stringify(message) + '\\n'
}

function asking(text) {
  if (!ASKS) return text
  const message = JSON.parse(text)
  if (message.method !== 'turn/start') return text
  Object.assign(message.params, { approvalPolicy: 'untrusted', approvalsReviewer: 'user', sandboxPolicy: { type: 'dangerFullAccess' } })
  return JSON.stringify(message) + '\\n'
}
`
}
