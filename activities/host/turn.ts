// Runs on the worker that holds the sandbox. One turn of an agent, watched until it ends or asks.
import { AgentStuckError } from '../../agents/acp/failures.ts'
import { runTurn } from '../../agents/acp/turn.ts'
import type { TurnMessage } from '../../agents/acp/turn-options.ts'
import type { AcpAgent } from '../../agents/agent.ts'
import type { Sandbox } from '../../environments/host.ts'
import { claims } from '../../environments/run-directory.ts'
import type { TurnInput, TurnOutcome } from '../../workflows/contract.ts'
import { runCommand } from './command.ts'
import { type Execution, workingDirectory } from './execution.ts'
import { prepare } from './prepare.ts'
import { currentSandbox } from './sandbox.ts'

/** How long an agent may take to stop when people want it to; after that it is ended from outside. A stop is promised within 5 s. */
const GRACE_MS = 1_500
/** How long a prompt that a dead predecessor may have sent is given to show itself. */
const EVIDENCE_MS = 3_000

type PromptInput = Extract<TurnInput, { kind: 'prompt' }>

export async function carryOutTurn(execution: Execution, input: TurnInput): Promise<TurnOutcome> {
  const { agent } = execution
  if (input.kind === 'answer') {
    if (agent.protocol === 'command') throw new TypeError('a command asks no questions')
    const { questionId, optionId } = input
    return await agentTurn(execution, agent, await currentSandbox(execution), { kind: 'answer', questionId, optionId })
  }
  // Neither waits for the other.
  const [text, sandbox] = await Promise.all([messageText(execution, input), beginTurn(execution, input.messageId)])
  const { messageId } = input
  if (agent.protocol === 'command') return await runCommand(execution, messageId, text, preamble(execution))
  const { previousMessageId } = execution.state.get()
  const message = { kind: 'prompt', messageId, text, preamble: preamble(execution), previousMessageId } as const
  return await agentTurn(execution, agent, sandbox, message)
}

/**
 * Notes which message is being worked on. The same message again is the same
 * turn, watched by a new attempt. Answers with the sandbox to work in.
 */
async function beginTurn(execution: Execution, messageId: string): Promise<Sandbox | null> {
  const { agent, state } = execution
  const former = state.get()
  let sandbox = await currentSandbox(execution)
  if (former.messageId === messageId) return sandbox
  // An agent that had to be ended with its former turn makes room for another one.
  if (!(await sandbox?.isRunning())) {
    await prepare(execution)
    sandbox = await currentSandbox(execution)
  }
  const { sessionId } = state.get()
  await state.set({
    messageId,
    previousMessageId: former.messageId,
    opensSession: agent.protocol === 'command' || sessionId !== former.greetedSession,
    greetedSession: sessionId,
  })
  return sandbox
}

async function agentTurn(
  execution: Execution,
  agent: AcpAgent,
  sandbox: Sandbox | null,
  turn: TurnMessage,
): Promise<TurnOutcome> {
  const { deps, ref, state, order, policy, transcript, signals } = execution
  const { sessionId } = state.get()
  const journal = (await sandbox?.agent()) ?? null
  if (journal === null || sessionId === null) return { kind: 'failed', failure: sandboxLost }
  const watchdog = watchInterrupt(execution)
  try {
    const outcome = await runTurn({
      journal,
      claims: claims(state.paths),
      sessionId,
      cwd: workingDirectory(deps.host.paths(ref.runId, null).workspace, order),
      quirks: agent.quirks,
      policy,
      turn,
      storedLine: await transcript.storedLine(journal.name),
      record: transcript.record,
      signals,
      times: { graceMs: GRACE_MS, evidenceMs: EVIDENCE_MS },
    })
    // An agent that the watchdog ended did not end by itself.
    if (watchdog.hasEndedAgent) throw signals.interrupt.reason
    return outcome
  } catch (error) {
    if (!(error instanceof AgentStuckError)) throw error
    deps.log.warn({ run: ref.runId }, 'the agent does not stop when told to; it is ended')
    await deps.host.stop(ref.runId)
    throw signals.interrupt.reason
  } finally {
    watchdog.leave()
  }
}

/** An agent that does not even read what it is told would keep a cancel waiting for ever: it is ended from outside. */
function watchInterrupt({ deps, ref, signals }: Execution) {
  let timer: NodeJS.Timeout | undefined
  const watchdog = { hasEndedAgent: false, leave }
  const begin = () => {
    timer = setTimeout(() => {
      watchdog.hasEndedAgent = true
      deps.log.warn({ run: ref.runId }, 'the agent does not listen; it is ended')
      deps.host.stop(ref.runId).catch((error: unknown) => deps.log.error({ run: ref.runId, err: error }, 'not ended'))
    }, GRACE_MS + 500)
  }
  function leave(): void {
    clearTimeout(timer)
    signals.interrupt.removeEventListener('abort', begin)
  }
  if (signals.interrupt.aborted) begin()
  else signals.interrupt.addEventListener('abort', begin, { once: true })
  return watchdog
}

/** What people said, with the messages before it that the agent was not given. */
async function messageText({ deps, ref, stop }: Execution, { messageId, before = [] }: PromptInput): Promise<string> {
  const ids = [...before, messageId]
  const texts = await Promise.all(ids.map((id) => deps.server.message(ref.runId, id, stop)))
  return texts.join('\n\n')
}

/** The base prompt, before the first message of a session. */
const preamble = ({ order, state }: Execution) => (state.get().opensSession ? order.base_prompt : null)

const sandboxLost = {
  code: 'sandbox_lost',
  phase: 'turn',
  message: "The agent's sandbox is gone.",
  nextStep: 'Send a follow-up: the workspace is kept, and another sandbox takes it up.',
} as const
