// For tests: an agent in this process whose lines the test writes, behind a journal in memory.
import { EventEmitter, once } from 'node:events'
import { type Journal, type JournalLine, ProcessEndedError, type ProcessExit } from '../../../domain/journal.ts'
import { isObject } from '../messages.ts'

export interface Heard {
  id?: string | number
  method?: string
  params?: Record<string, unknown>
  result?: unknown
  error?: unknown
}

export interface ScriptedAgent {
  journal: Journal
  /** Every message that reached the agent whole, in order. */
  readonly heard: Heard[]
  /** The next message to this method that was not waited for yet; `null`: the next answer to a request of the agent's. */
  hears(method: string | null): Promise<Heard>
  says(line: string | object, truncatedBytes?: number): void
  updates(update: object, sessionId?: string): void
  text(text: string): void
  answers(request: Heard, result: object): void
  fails(request: Heard, error: object): void
  asksPermission(id: number | string, toolCall?: object): void
  ends(exit: ProcessExit | null, stderr?: string): void
}

export const SESSION = 'session-1'

export const permissionOptions = [
  { optionId: 'yes', name: 'Allow', kind: 'allow_once' },
  { optionId: 'always', name: 'Always', kind: 'allow_always' },
  { optionId: 'no', name: 'Reject', kind: 'reject_once' },
]

/** @param onHeard lets the agent act by itself on what reaches it. */
export function scriptedAgent(onHeard: (message: Heard, agent: ScriptedAgent) => void = () => {}): ScriptedAgent {
  const lines: JournalLine[] = []
  const heard: Heard[] = []
  const waitedFor = new Set<Heard>()
  const changes = new EventEmitter().setMaxListeners(0)
  let ended = false
  let exit: ProcessExit | null = null
  let stderr = ''
  let stdin = ''

  const agent: ScriptedAgent = {
    heard,
    journal: {
      name: 'agent-1',
      async *read(after, signal) {
        for (let at = after; !signal.aborted; ) {
          const batch = lines.slice(at)
          at = lines.length
          if (batch.length > 0) yield batch
          else if (ended) return
          // Who waits is let go by the abort of its reading.
          else await once(changes, 'change', { signal }).catch(() => {})
        }
      },
      async write(text) {
        if (ended) throw new ProcessEndedError('the scripted agent has ended')
        stdin += text
        const whole = stdin.split('\n')
        stdin = whole.pop() ?? ''
        for (const line of whole) {
          const message = parsed(line)
          if (message === null) continue
          heard.push(message)
          onHeard(message, agent)
        }
        changes.emit('change')
      },
      stderrTail: async () => stderr,
      exit: async () => exit,
    },
    async hears(method) {
      for (;;) {
        const found = heard.find((message) => !waitedFor.has(message) && (message.method ?? null) === method)
        if (found) {
          waitedFor.add(found)
          return found
        }
        await once(changes, 'change', { signal: AbortSignal.timeout(5_000) })
      }
    },
    says(line, truncatedBytes = 0) {
      const text = typeof line === 'string' ? line : JSON.stringify({ jsonrpc: '2.0', ...line })
      lines.push({ line: lines.length + 1, stream: 'stdout', text, truncatedBytes })
      changes.emit('change')
    },
    updates: (update, sessionId = SESSION) => agent.says({ method: 'session/update', params: { sessionId, update } }),
    text: (text) => agent.updates({ sessionUpdate: 'agent_message_chunk', content: { type: 'text', text } }),
    answers: ({ id }, result) => agent.says({ id, result }),
    fails: ({ id }, error) => agent.says({ id, error }),
    asksPermission(id, toolCall = { toolCallId: `tool-${id}`, title: 'touch file' }) {
      const params = { sessionId: SESSION, toolCall, options: permissionOptions }
      agent.says({ id, method: 'session/request_permission', params })
    },
    ends(how, log = '') {
      ended = true
      exit = how
      stderr = log
      changes.emit('change')
    },
  }
  return agent
}

/** Null for a line that is torn or empty, which agents pass over. */
function parsed(line: string): Heard | null {
  try {
    const value: unknown = JSON.parse(line)
    return isObject(value) ? value : null
  } catch {
    return null
  }
}
