// Starts the agent in its container, through the gate that waits there.
import { randomUUID } from 'node:crypto'
import type Docker from 'dockerode'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import { helloLine, readyLine, STARTED, startLine } from '../gate.ts'
import type { ProgramSpec } from '../host.ts'
import type { FirstLine } from './first-line.ts'
import { exitOf, readGate, stderrTail } from './journal.ts'

/** A gate answers within milliseconds; a machine that needs longer is out of order. */
const ANSWER_MS = 30_000

/** Whether the gate of this container has let the agent through. */
export async function wasStarted(container: Docker.Container): Promise<boolean> {
  for await (const line of readGate(container, { follow: false, signal: AbortSignal.timeout(ANSWER_MS) })) {
    if (line === STARTED) return true
  }
  return false
}

const STARTED_LINE = new RegExp(`^${STARTED.replace(/[{}]/g, '\\$&')}$`, 'm')

/** Starts the agent by the line to a gate to which nobody else has written. False: it is not known whether it has. */
export async function startedBy(line: FirstLine, program: ProgramSpec): Promise<boolean> {
  const token = randomUUID()
  return (await line.ask(helloLine(token) + startLine(token, program), STARTED_LINE, ANSWER_MS)) !== null
}

/**
 * Starts the agent unless it was started before. The gate is greeted first and
 * gets the program only after it has answered: a predecessor may have died with
 * its own start on the way, and what is written after that would reach the agent.
 */
export async function startAgent(
  container: Docker.Container,
  program: ProgramSpec,
  write: (text: string) => Promise<void>,
): Promise<void> {
  if (await wasStarted(container)) return
  if ((await exitOf(container)) !== null)
    throw await startFailed(container, 'The sandbox ended before its agent began.')
  const token = randomUUID()
  const start = startLine(token, program)
  await write(helloLine(token))
  for await (const said of readGate(container, { follow: true, signal: AbortSignal.timeout(ANSWER_MS) })) {
    if (said === STARTED) return
    if (said === readyLine(token)) await write(start)
  }
  throw await startFailed(container, 'The sandbox did not start its agent.')
}

async function startFailed(container: Docker.Container, message: string): Promise<RunFailureError> {
  const tail = await stderrTail(container)
  return new RunFailureError({
    code: 'agent_start_failed',
    phase: 'agent_start',
    message,
    exitCode: (await exitOf(container))?.code,
    logTail: tail === '' ? undefined : logTail(tail),
  })
}
