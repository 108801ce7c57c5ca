// A tool's call, done once: known by its key, or by what it says for the message that the agent works on.
import { createHash } from 'node:crypto'
import type { EventKind } from '../../domain/event.ts'
import { TOOL_CALLS } from '../../domain/limits.ts'
import { isTerminal } from '../../domain/state.ts'
import type { ToolName } from '../../domain/tools.ts'
import type { CredentialHolder } from '../../secrets/gateway/credential.ts'
import type { Db, Tx } from '../../store/database.ts'
import { type LockedRun, lockRun } from '../../store/locking.ts'
import { messageInHand } from '../../store/runs/asks.ts'
import { insertEvents } from '../../store/runs/events.ts'
import { isOver, keepToolAnswer, TOOLS_JOURNAL, toolAnswer } from '../../store/runs/tool-calls.ts'
import { HttpError } from '../errors.ts'

export interface ToolCall {
  tx: Tx
  run: LockedRun
  /** By which the call is known, within the run. */
  key: string
  /** Of the run's calls, from 1. */
  number: number
  /** The message that the agent works on. */
  mailId: string | null
  /** Tells it in the transcript. */
  tell(kind: EventKind, data: Record<string, unknown>): Promise<void>
}

/**
 * Carries a call out, or answers as it was answered before: an agent that was
 * lost in the middle of a message, and another one that takes it up, may say
 * the same twice.
 */
export async function onceForRun(
  db: Db,
  { runId }: CredentialHolder,
  tool: ToolName,
  args: { key?: string | undefined },
  work: (call: ToolCall) => Promise<string>,
): Promise<string> {
  return await db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    const mailId = await messageInHand(tx, runId)
    const key = keyOf(tool, args, mailId)
    const { answer, calls } = await toolAnswer(tx, runId, key)
    if (answer !== null) return answer
    if (isTerminal(run.state))
      throw new HttpError(409, 'conflict', 'The run is over: nothing more can be told or asked. End your work.')
    if (calls >= TOOL_CALLS)
      throw new HttpError(
        429,
        'resource_unavailable',
        `This run has called its tools ${TOOL_CALLS} times, which is the most. Go on without them, and say what you have to say in your last message.`,
      )
    const number = calls + 1
    let part = 0
    const said = await work({
      tx,
      run,
      key,
      number,
      mailId,
      async tell(kind, data) {
        const event = { line: number, part: part++, time: new Date().toISOString(), kind, data }
        await insertEvents(tx, run, Math.max(1, run.execution), TOOLS_JOURNAL, [event])
      },
    })
    await keepToolAnswer(tx, { runId, key, number, tool, answer: said })
    return said
  })
}

/** Whether the call would be carried out, for whoever has to store something first. Until it is, that may change. */
export async function wouldBeDone(
  db: Db,
  { runId }: CredentialHolder,
  tool: ToolName,
  args: { key?: string | undefined },
): Promise<boolean> {
  const key = keyOf(tool, args, await messageInHand(db, runId))
  const { answer, calls } = await toolAnswer(db, runId, key)
  return answer === null && calls < TOOL_CALLS && !(await isOver(db, runId))
}

/** What a call is known by. */
function keyOf(tool: ToolName, args: { key?: string | undefined }, mailId: string | null): string {
  if (args.key !== undefined) return `${tool}/${args.key}`
  const said = createHash('sha256')
    .update(JSON.stringify([mailId, Object.entries(args).sort(([a], [b]) => (a < b ? -1 : 1))]))
    .digest('hex')
  return `${tool}#${said}`
}
