// A turn of the command agent: one process for one message. Its lines are output, its exit code is the outcome.
import type { NewEvent } from '../domain/event.ts'
import { logTail, type RunFailure } from '../domain/failure.ts'
import type { Journal, ProcessExit } from '../domain/journal.ts'
import type { TurnOutcome } from '../workflows/contract.ts'
import { newEvent, ofStrayLine, PART } from './acp/events.ts'
import { AgentStuckError } from './acp/failures.ts'
import { createRecorder, type Record } from './acp/recorder.ts'
import type { TurnSignals } from './acp/turn-options.ts'

export interface CommandTurn {
  /** Of the job that was started for this message. */
  journal: Journal
  messageId: string
  text: string
  storedLine: number
  record: Record
  signals: TurnSignals
}

/** Characters of output that are kept for a failure's log. */
const TAIL_CHARS = 8_000

/**
 * Follows the command to its end. May be called again after any death: the
 * job's journal is read on from `storedLine`.
 * @throws {AgentStuckError} on an interrupt: nothing but its end stops a command, and that is the caller's.
 */
export async function runCommandTurn(options: CommandTurn): Promise<TurnOutcome> {
  const { journal, messageId, text, storedLine, signals } = options
  const recorder = createRecorder({ journal: journal.name, storedLine, record: options.record })
  recorder.addNote([newEvent(0, PART.prompt, { kind: 'prompt', data: { message_id: messageId, text } })])
  const stop = AbortSignal.any([signals.interrupt, signals.detach, recorder.failed])
  let tail = ''
  for await (const lines of journal.read(0, stop)) {
    for (const line of lines) {
      recorder.add(line.line, eventsOf(line))
      tail = `${tail}${line.text}\n`.slice(-TAIL_CHARS)
    }
    await recorder.room()
  }
  signals.detach.throwIfAborted()
  await recorder.flush()
  if (signals.interrupt.aborted) throw new AgentStuckError('A command can only be stopped by ending it.')
  const exit = await journal.exit()
  if (exit?.code === 0) return { kind: 'ended', stopReason: 'end_turn' }
  return { kind: 'failed', failure: failureOf(exit, logTail(tail)) }
}

function eventsOf(line: Parameters<typeof ofStrayLine>[0]): NewEvent[] {
  const output = newEvent(line.line, PART.update, { kind: 'output', data: { stream: line.stream, text: line.text } })
  return line.truncatedBytes === 0 ? [output] : [output, newEvent(line.line, PART.warning, ofStrayLine(line))]
}

function failureOf(exit: ProcessExit | null, log: string): RunFailure {
  if (exit === null) {
    return {
      code: 'sandbox_lost',
      phase: 'turn',
      message: 'The sandbox is gone, and how the command ended is not known.',
      logTail: log,
      nextStep: 'Start the run again.',
    }
  }
  return {
    code: 'command_failed',
    phase: 'turn',
    message: exit.outOfMemory
      ? 'The command ran out of memory and was killed.'
      : `The command ended with exit code ${exit.code}.`,
    exitCode: exit.code,
    logTail: log,
    nextStep: exit.outOfMemory
      ? 'Give the sandbox more memory, or have the command use less.'
      : 'Mend what it says, and send a message to go on, or start the run again.',
  }
}
