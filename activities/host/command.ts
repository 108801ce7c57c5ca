// Runs on the worker that holds the sandbox. A command as an agent: one job for one message.
import { AgentStuckError } from '../../agents/acp/failures.ts'
import { runCommandTurn } from '../../agents/command-turn.ts'
import { RunFailureError } from '../../domain/failure.ts'
import type { ProviderName } from '../../domain/harness.ts'
import type { Journal } from '../../domain/journal.ts'
import { commitIdentity } from '../../environments/git/repositories.ts'
import type { Sandbox } from '../../environments/host.ts'
import { claims } from '../../environments/run-directory.ts'
import type { TurnOutcome } from '../../workflows/contract.ts'
import { boundCredential } from './binding.ts'
import { type Execution, workingDirectory } from './execution.ts'
import { usableSandbox } from './sandbox.ts'
import { placeSecrets, variablesOf } from './secrets.ts'
import { runStart } from './setup.ts'
import { toolVariables } from './tools.ts'

/** Each provider's usual names for its key and its address, by which command-line tools find a model. */
const modelVariables: Record<ProviderName, { key: string; url: string }> = {
  anthropic: { key: 'ANTHROPIC_API_KEY', url: 'ANTHROPIC_BASE_URL' },
  openai: { key: 'OPENAI_API_KEY', url: 'OPENAI_BASE_URL' },
  gemini: { key: 'GEMINI_API_KEY', url: 'GOOGLE_GEMINI_BASE_URL' },
}

export async function runCommand(
  execution: Execution,
  { messageId, attempt, text, preamble }: { messageId: string; attempt: number; text: string; preamble: string | null },
): Promise<TurnOutcome> {
  const prompt = preamble === null ? text : `${preamble}\n\n${text}`
  const { deps, ref, order, transcript, signals } = execution
  const [program, ...rest] = order.command ?? []
  if (program === undefined) {
    throw new RunFailureError({ code: 'invalid_run', phase: 'turn', message: 'The `command` harness needs a command.' })
  }
  await endFormerCommand(execution)
  const { generation: former } = execution.state.get()
  const sandbox = await usableSandbox(execution)
  await placeSecrets(execution, sandbox)
  await runStart(execution, sandbox)
  const takesArgument = rest.some((argument) => argument.includes('{prompt}'))
  // A command that was lost with its sandbox is started again.
  const id = attempt === 1 ? `command-${messageId}` : `command-${messageId}-${attempt}`
  // A command that was started keeps its credential: another one would end the one that it was started with.
  const wasStarted = await sandbox.hasJob(id)
  const credential = wasStarted ? null : await boundCredential(execution, sandbox)
  const journal = await sandbox.job({
    id,
    command: [program, ...rest.map((argument) => argument.replaceAll('{prompt}', prompt))],
    env:
      credential === null
        ? {}
        : {
            ...commitIdentity(order.commit_identity),
            ...variablesOf(execution),
            ...modelEnvironment(sandbox.gateway ?? deps.gatewayUrl, credential.token),
            ...toolVariables(execution, sandbox, credential.tool_token),
          },
    cwd: workingDirectory(deps.host.paths(ref.runId, null).workspace, order),
    ...(takesArgument ? {} : { stdin: prompt }),
  })
  const storedLine = wasStarted ? await transcript.storedLine(journal.name) : 0
  try {
    const outcome = await runCommandTurn({ journal, messageId, text, storedLine, record: transcript.record, signals })
    const wasElsewhere = wasStarted && sandbox.generation !== former
    // Another attempt at the message may follow, whose end is another one.
    if (await isLost(outcome, journal, sandbox, wasElsewhere)) return { kind: 'failed', failure: lost }
    await noteEnd(execution, messageId)
    return outcome
  } catch (error) {
    if (!(error instanceof AgentStuckError)) throw error
    await deps.host.stop(ref.runId)
    await noteEnd(execution, messageId)
    throw signals.interrupt.reason
  }
}

const claimOfEnd = (messageId: string) => `command-ended:${messageId}`

async function noteEnd({ state }: Execution, messageId: string): Promise<void> {
  const { make, settle } = claims(state.paths)
  await make(claimOfEnd(messageId), { afterLine: 0 })
  await settle(claimOfEnd(messageId))
}

/**
 * Ends the command of the message before this one where nobody has seen its end:
 * whoever was to stop it for this message died before that.
 */
async function endFormerCommand(execution: Execution): Promise<void> {
  const { deps, ref, state } = execution
  const { previousMessageId: former } = state.get()
  if (former === null) return
  const { settled } = await claims(state.paths).make(claimOfEnd(former), { afterLine: 0 })
  if (settled) return
  await deps.host.stop(ref.runId)
  await noteEnd(execution, former)
}

/** A command that left no exit code of its own went down with its sandbox; one that was killed in a sandbox that lives did not. */
async function isLost(outcome: TurnOutcome, journal: Journal, sandbox: Sandbox, wasElsewhere: boolean) {
  if (outcome.kind !== 'failed') return false
  const exit = await journal.exit()
  return exit?.code === 137 && !exit.outOfMemory && (wasElsewhere || !(await sandbox.isRunning()))
}

const lost = {
  code: 'sandbox_lost',
  phase: 'turn',
  message: 'The command went down with its sandbox.',
  nextStep: 'Send a follow-up: the workspace is kept, and another sandbox takes it up.',
} as const

function modelEnvironment(gateway: string, token: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(modelVariables).flatMap(([provider, names]) => [
      [names.key, token],
      [names.url, `${gateway}/${provider}`],
    ]),
  )
}
