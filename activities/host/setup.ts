// Runs on the worker that holds the sandbox. The environment's set-up commands, each run once.

import { newEvent } from '../../agents/acp/events.ts'
import { createRecorder } from '../../agents/acp/recorder.ts'
import { storableText } from '../../agents/acp/storable.ts'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import type { Sandbox } from '../../environments/host.ts'
import { type Execution, workingDirectory } from './execution.ts'

/** Characters of a command's output that are kept for a failure's log. */
const TAIL_CHARS = 8_000

/** @throws {RunFailureError} `setup_command_failed` at the first command that fails; later ones are not run. */
export async function runSetup(execution: Execution, sandbox: Sandbox): Promise<void> {
  const { state, order } = execution
  if (state.get().setupDone) return
  for (const [index, command] of order.environment.setup_commands.entries()) {
    await runSetupCommand(execution, sandbox, index + 1, command)
  }
  await state.set({ setupDone: true })
}

async function runSetupCommand(execution: Execution, sandbox: Sandbox, step: number, command: string): Promise<void> {
  const { deps, ref, order, transcript, stop } = execution
  const job = await sandbox.job({
    // By its sandbox: a command that went down with one is run again in the next.
    id: `setup-${sandbox.generation}-${step}`,
    command: ['/bin/sh', '-c', command],
    env: order.environment.env,
    cwd: workingDirectory(deps.host.paths(ref.runId, null).workspace, order),
  })
  const storedLine = await transcript.storedLine(job.name)
  const recorder = createRecorder({ journal: job.name, storedLine, record: transcript.record })
  recorder.addNote([setupEvent(1, PART.command, { step, command })])

  let tail = ''
  let lastLine = 0
  for await (const lines of job.read(0, AbortSignal.any([stop, recorder.failed]))) {
    for (const { line, stream, text } of lines) {
      recorder.add(line, [setupEvent(line, PART.output, { step, stream, text })])
      tail = `${tail}${text}\n`.slice(-TAIL_CHARS)
      lastLine = line
    }
    await recorder.room()
  }
  stop.throwIfAborted()
  const exit = await job.exit()
  recorder.addNote([setupEvent(lastLine + 1, PART.exit, { step, exit_code: exit?.code ?? null })])
  await recorder.flush()
  if (exit?.code === 0) return
  const isLost = exit === null || (!exit.outOfMemory && !(await sandbox.isRunning()))
  throw new RunFailureError({
    code: isLost ? 'sandbox_lost' : 'setup_command_failed',
    phase: 'setup',
    message: exit?.outOfMemory
      ? `Set-up command ${step} ran out of memory and was killed.`
      : `Set-up command ${step} ended with exit code ${exit?.code ?? 'unknown'}.`,
    command: command.length > 300 ? `${command.slice(0, 300)}…` : command,
    ...(exit ? { exitCode: exit.code } : {}),
    logTail: logTail(storableText(tail)),
    nextStep: 'Mend the command, and start the run again.',
  })
}

/** Each kind of note has a part of its own, so that a retry stores none twice. */
const PART = { output: 0, command: 1, exit: 2 } as const

const setupEvent = (line: number, part: number, data: Record<string, unknown>) =>
  newEvent(line, part, { kind: 'setup', data })
