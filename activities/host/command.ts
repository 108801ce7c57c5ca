// Runs on the worker that holds the sandbox. A command as an agent: one job for one message.
import { AgentStuckError } from '../../agents/acp/failures.ts'
import { runCommandTurn } from '../../agents/command-turn.ts'
import { RunFailureError } from '../../domain/failure.ts'
import type { ProviderName } from '../../domain/harness.ts'
import type { TurnOutcome } from '../../workflows/contract.ts'
import { type Execution, workingDirectory } from './execution.ts'
import { usableSandbox } from './sandbox.ts'

/** Each provider's usual names for its key and its address, by which command-line tools find a model. */
const modelVariables: Record<ProviderName, { key: string; url: string }> = {
  anthropic: { key: 'ANTHROPIC_API_KEY', url: 'ANTHROPIC_BASE_URL' },
  openai: { key: 'OPENAI_API_KEY', url: 'OPENAI_BASE_URL' },
  gemini: { key: 'GEMINI_API_KEY', url: 'GOOGLE_GEMINI_BASE_URL' },
}

export async function runCommand(
  execution: Execution,
  messageId: string,
  text: string,
  preamble: string | null,
): Promise<TurnOutcome> {
  const prompt = preamble === null ? text : `${preamble}\n\n${text}`
  const { deps, ref, order, transcript, signals, stop } = execution
  const [program, ...rest] = order.command ?? []
  if (program === undefined) {
    throw new RunFailureError({ code: 'invalid_run', phase: 'turn', message: 'The `command` harness needs a command.' })
  }
  const sandbox = await usableSandbox(execution)
  const takesArgument = rest.some((argument) => argument.includes('{prompt}'))
  const id = `command-${messageId}`
  // A command that was started keeps its credential: another one would end the one that it was started with.
  const wasStarted = await sandbox.hasJob(id)
  const journal = await sandbox.job({
    id,
    command: [program, ...rest.map((argument) => argument.replaceAll('{prompt}', prompt))],
    env: wasStarted
      ? {}
      : {
          ...order.environment.env,
          ...modelEnvironment(deps.gatewayUrl, await deps.server.credential(ref.runId, ref.execution, stop)),
        },
    cwd: workingDirectory(deps.host.paths(ref.runId, null).workspace, order),
    ...(takesArgument ? {} : { stdin: prompt }),
  })
  const storedLine = await transcript.storedLine(journal.name)
  try {
    return await runCommandTurn({ journal, messageId, text, storedLine, record: transcript.record, signals })
  } catch (error) {
    if (!(error instanceof AgentStuckError)) throw error
    await deps.host.stop(ref.runId)
    throw signals.interrupt.reason
  }
}

function modelEnvironment(gateway: string, token: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(modelVariables).flatMap(([provider, names]) => [
      [names.key, token],
      [names.url, `${gateway}/${provider}`],
    ]),
  )
}
