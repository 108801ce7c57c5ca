// Runs on the worker that holds the sandbox. One turn of an agent, watched until it ends or asks.
import { AgentStuckError } from '../../agents/acp/failures.ts'
import { runTurn, type TurnMessage } from '../../agents/acp/turn.ts'
import type { AcpAgent } from '../../agents/agent.ts'
import { claims } from '../../environments/run-directory.ts'
import type { TurnInput, TurnOutcome } from '../../workflows/contract.ts'
import { runCommand } from './command.ts'
import { type Execution, prepare, workingDirectory } from './prepare.ts'

/** How long an agent may take to stop when people want it to; after that it is ended from outside. A stop is promised within 5 s. */
const GRACE_MS = 2_000
/** How long a prompt that a dead predecessor may have sent is given to show itself. */
const EVIDENCE_MS = 3_000

export async function carryOutTurn(execution: Execution, input: TurnInput): Promise<TurnOutcome> {
  const { agent } = execution
  if (input.kind === 'prompt') await beginTurn(execution, input.messageId)
  if (agent.protocol === 'acp') return await agentTurn(execution, agent, input)
  if (input.kind === 'prompt') {
    const text = await messageText(execution, input.messageId)
    return await runCommand(execution, input.messageId, text, preamble(execution))
  }
  throw new TypeError('a command asks no questions')
}

/** Notes which message is being worked on. The same message again is the same turn, watched by a new attempt. */
async function beginTurn(execution: Execution, messageId: string): Promise<void> {
  const { deps, ref, agent, state } = execution
  const former = state.get()
  if (former.messageId === messageId) return
  const sandbox = await deps.host.find(ref.runId, former.generation)
  // An agent that had to be ended with its former turn makes room for another one.
  if (!(await sandbox?.isRunning())) await prepare(execution)
  const { sessionId } = state.get()
  await state.set({
    messageId,
    previousMessageId: former.messageId,
    opensSession: agent.protocol === 'command' || sessionId !== former.greetedSession,
    greetedSession: sessionId,
  })
}

async function agentTurn(execution: Execution, agent: AcpAgent, input: TurnInput): Promise<TurnOutcome> {
  const { deps, ref, state, order, policy, transcript, signals } = execution
  const { sessionId, generation } = state.get()
  const sandbox = await deps.host.find(ref.runId, generation)
  const journal = (await sandbox?.agent()) ?? null
  if (journal === null || sessionId === null) return { kind: 'failed', failure: sandboxLost }
  try {
    return await runTurn({
      journal,
      claims: claims(state.paths),
      sessionId,
      cwd: workingDirectory(deps.host.paths(ref.runId, null).workspace, order),
      quirks: agent.quirks,
      policy,
      turn: await turnMessage(execution, input),
      storedLine: await transcript.storedLine(journal.name),
      record: transcript.record,
      signals,
      times: { graceMs: GRACE_MS, evidenceMs: EVIDENCE_MS },
    })
  } catch (error) {
    if (!(error instanceof AgentStuckError)) throw error
    deps.log.warn({ run: ref.runId }, 'the agent does not stop when told to; it is ended')
    await deps.host.stop(ref.runId)
    throw signals.interrupt.reason
  }
}

async function turnMessage(execution: Execution, input: TurnInput): Promise<TurnMessage> {
  if (input.kind === 'answer') return { kind: 'answer', questionId: input.questionId, optionId: input.optionId }
  return {
    kind: 'prompt',
    messageId: input.messageId,
    text: await messageText(execution, input.messageId),
    preamble: preamble(execution),
    previousMessageId: execution.state.get().previousMessageId,
  }
}

const messageText = ({ deps, ref, stop }: Execution, messageId: string) =>
  deps.server.message(ref.runId, messageId, stop)

/** The base prompt, before the first message of a session. */
const preamble = ({ order, state }: Execution) => (state.get().opensSession ? order.base_prompt : null)

const sandboxLost = {
  code: 'sandbox_lost',
  phase: 'turn',
  message: "The agent's sandbox is gone.",
  nextStep: 'Send a follow-up: the workspace is kept, and another sandbox takes it up.',
} as const
