// Runs on the worker that holds the sandbox. The commands that make a sandbox ready, each run once.

import { newEvent } from '../../agents/acp/events.ts'
import { createRecorder } from '../../agents/acp/recorder.ts'
import { storableText } from '../../agents/acp/storable.ts'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import type { SetupStep } from '../../environments/devcontainer/devcontainer.ts'
import type { Sandbox } from '../../environments/host.ts'
import { environmentOf } from './environment.ts'
import { type Execution, workingDirectory } from './execution.ts'
import { variablesOf } from './secrets.ts'

/** Characters of a command's output that are kept for a failure's log. */
const TAIL_CHARS = 8_000

/** @throws {RunFailureError} `setup_command_failed` at the first command that fails; later ones are not run. */
export async function runSetup(execution: Execution, sandbox: Sandbox): Promise<void> {
  const { state } = execution
  if (state.get().setupDone) return
  await runSteps(execution, sandbox, 'setup', environmentOf(execution).setupSteps)
  await state.set({ setupDone: true })
}

/** What runs in each sandbox once it is set up, once. @throws like {@link runSetup}. */
export async function runStart(execution: Execution, sandbox: Sandbox): Promise<void> {
  await runSteps(execution, sandbox, 'start-command', environmentOf(execution).startSteps)
}

/** A command as it is known to people, and as a job. */
interface Command {
  id: string
  /** The number of a command of the request, the property of one in devcontainer.json. */
  step: number | string
  title: string
  command: string[]
  folder: string | null
}

async function runSteps(execution: Execution, sandbox: Sandbox, prefix: string, steps: SetupStep[]): Promise<void> {
  const asked = steps.filter(({ name }) => name === null)
  for (const [index, step] of steps.entries()) {
    const commands = step.commands.map(({ name, command }, at): Command => {
      // By its sandbox: a command that went down with one is run again in the next.
      const id = `${prefix}-${sandbox.generation}`
      const { folder } = step
      if (step.name === null) {
        const number = asked.indexOf(step) + 1
        return { id: `${id}-${number}`, step: number, title: `Set-up command ${number}`, command, folder }
      }
      const title = name === null ? step.name : `${step.name} (${name})`
      return { id: `${id}-devcontainer-${index}-${at}`, step: title, title, command, folder }
    })
    // All have ended before the next step, or the next attempt, begins.
    const ended = await Promise.allSettled(commands.map((command) => runCommand(execution, sandbox, command)))
    for (const end of ended) if (end.status === 'rejected') throw end.reason
  }
}

async function runCommand(
  execution: Execution,
  sandbox: Sandbox,
  { id, step, title, command, folder }: Command,
): Promise<void> {
  const { deps, ref, order, transcript, redactor, stop } = execution
  const { workspace } = deps.host.paths(ref.runId, null)
  const job = await sandbox.job({
    id,
    command,
    env: variablesOf(execution),
    cwd: folder === null ? workingDirectory(workspace, order) : `${workspace}/${folder}`,
  })
  const storedLine = await transcript.storedLine(job.name)
  const recorder = createRecorder({ journal: job.name, storedLine, record: transcript.record })
  const written = textOf(command)
  recorder.addNote([setupEvent(1, PART.command, { step, command: written })])

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
      ? `${title} ran out of memory and was killed.`
      : `${title} ended with exit code ${exit?.code ?? 'unknown'}.`,
    command: written.length > 300 ? `${written.slice(0, 300)}…` : written,
    ...(exit ? { exitCode: exit.code } : {}),
    logTail: logTail(redactor.text(storableText(tail))),
    nextStep: 'Mend the command, and try again.',
  })
}

/** What a person wrote: a shell's text as it is, other programs as a shell would take them. */
function textOf(command: string[]): string {
  const [shell, option, text, ...rest] = command
  const isText = shell === '/bin/sh' && option === '-c' && text !== undefined && rest.length === 0
  const quoted = (word: string) => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)
  return isText ? text : command.map(quoted).join(' ')
}

/** Each kind of note has a part of its own, so that a retry stores none twice. */
const PART = { output: 0, command: 1, exit: 2 } as const

const setupEvent = (line: number, part: number, data: Record<string, unknown>) =>
  newEvent(line, part, { kind: 'setup', data })
