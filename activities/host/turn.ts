// Runs on the worker that holds the sandbox. One turn of an agent, watched until it ends or asks.
import { AgentStuckError } from '../../agents/acp/failures.ts'
import { runTurn } from '../../agents/acp/turn.ts'
import type { TurnMessage } from '../../agents/acp/turn-options.ts'
import type { AcpAgent } from '../../agents/agent.ts'
import type { MessageText } from '../../domain/host-api.ts'
import { modeInstructions } from '../../domain/mode.ts'
import type { Sandbox } from '../../environments/host.ts'
import { claims } from '../../environments/run-directory.ts'
import type { TurnInput, TurnOutcome } from '../../workflows/contract.ts'
import { takeAsked, whatStopped } from './asked.ts'
import { bringAttachments } from './attachments.ts'
import type { StopSignals } from './attended.ts'
import { checkpointFormerTurn } from './checkpoint.ts'
import { runCommand } from './command.ts'
import type { HostDeps } from './deps.ts'
import { type Execution, workingDirectory } from './execution.ts'
import { isReady, prepare } from './prepare.ts'
import { currentSandbox } from './sandbox.ts'
import { skillInstructions } from './skills.ts'
import { toolServers } from './tools.ts'

/** How long an agent may take to stop when people want it to; after that it is ended from outside. A stop is promised within 5 s. */
const GRACE_MS = 1_500
/** How long a prompt that a dead predecessor may have sent is given to show itself. */
const EVIDENCE_MS = 3_000

/** One turn, and what the agent has asked for in it. `said`: where it is being read already. */
export async function carryOutTurn(
  execution: Execution,
  input: TurnInput,
  said: Promise<Said> = readMessages(execution.deps, execution.ref.runId, input, execution.signals),
): Promise<TurnOutcome> {
  const outcome = await giveTurn(execution, input, said)
  if (outcome.kind === 'question') return outcome
  if (outcome.kind === 'failed') {
    // To an agent it is an error of its model that there is no more to spend. The run waits for that, and has not failed.
    const stopped = await whatStopped(execution)
    return stopped === null ? outcome : { kind: 'ended', stopReason: 'end_turn', asks: stopped }
  }
  const asks = await takeAsked(execution)
  return asks === null ? outcome : { ...outcome, asks }
}

async function giveTurn(execution: Execution, input: TurnInput, reading: Promise<Said>): Promise<TurnOutcome> {
  const { agent } = execution
  if (input.kind === 'answer' && !input.belated) {
    if (agent.protocol === 'command') throw new TypeError('a command asks no questions')
    const { questionId, optionId } = input
    return await agentTurn(execution, agent, await currentSandbox(execution), { kind: 'answer', questionId, optionId })
  }
  const messageId = input.kind === 'answer' ? input.mailId : input.messageId
  // Neither waits for the other.
  const [said, sandbox] = await Promise.all([reading, beginTurn(execution, messageId)])
  const first = await preamble(execution)
  const { text, decision } = said
  const brought = await bringAttachments(execution, sandbox, messageId, said.attachments ?? [])
  if (agent.protocol === 'command') {
    const before = inOne([first, brought.note])
    return await runCommand(execution, { messageId, attempt: input.attempt ?? 1, text, preamble: before })
  }
  const lost = (input.attempt ?? 1) > 1 ? LOST : null
  const { state } = execution
  const { previousMessageId } = state.get()
  return await agentTurn(execution, agent, sandbox, {
    kind: 'prompt',
    messageId,
    text,
    preamble: inOne([first, modeInstructions[said.mode ?? 'normal'], lost, brought.note]),
    images: state.get().takesImages ? brought.images : [],
    previousMessageId,
    decided: decision,
  })
}

const inOne = (parts: readonly (string | null)[]): string | null => {
  const said = parts.filter((part) => part !== null)
  return said.length > 0 ? said.join('\n\n') : null
}

/** Said to an agent before a message that it, or its predecessor, may have begun to work on. */
const LOST =
  'The machine or the process that worked on the following message was lost in the middle of it. ' +
  'The workspace may hold a part of the work. Look at what is there, and go on from it.'

/**
 * Notes which message is being worked on. The same message again is the same
 * turn, watched by a new attempt. Answers with the sandbox to work in.
 */
async function beginTurn(execution: Execution, messageId: string): Promise<Sandbox | null> {
  const { agent, state } = execution
  const former = state.get()
  let sandbox = await currentSandbox(execution)
  if (former.messageId === messageId) return sandbox
  await checkpointFormerTurn(execution)
  // An agent that had to be ended with its former turn makes room for another one, which a dead worker may have begun.
  if (sandbox === null || !(await sandbox.isRunning()) || !(await isReady(execution, sandbox))) {
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
      ...(sandbox === null ? {} : { mcpServers: toolServers(execution, agent, sandbox, null) }),
      quirks: agent.quirks,
      policy,
      turn,
      storedLine: await transcript.storedLine(journal.name),
      record: transcript.record,
      redactor: execution.redactor,
      signals,
      onStopped: watchdog.leave,
      times: { graceMs: GRACE_MS, evidenceMs: EVIDENCE_MS },
    })
    // An agent that the watchdog ended did not end by itself.
    if (watchdog.hasEndedAgent) throw signals.interrupt.reason
    return outcome
  } catch (error) {
    if (!(error instanceof AgentStuckError)) throw error
    deps.log.warn({ run: ref.runId }, 'the agent does not stop when told to; it is ended')
    await deps.host.stop(ref.runId)
    if (signals.interrupt.aborted) throw signals.interrupt.reason
    // It was at the turn before this one still, and has not been given this message: another agent is.
    return { kind: 'failed', failure: sandboxLost }
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

export type Said = Omit<MessageText, 'message_id'>

/**
 * What the agent is to be told, with the messages before it that it was not
 * given. It needs no sandbox, and can be read while that is made ready.
 */
export async function readMessages(
  { server }: Pick<HostDeps, 'server'>,
  runId: string,
  input: TurnInput,
  signals: StopSignals,
): Promise<Said> {
  // The agent that asked waits for the answer itself.
  if (input.kind === 'answer' && !input.belated) return { text: '', decision: null }
  const ids = input.kind === 'answer' ? [input.mailId] : [...(input.before ?? []), input.messageId]
  const stop = AbortSignal.any([signals.interrupt, signals.detach])
  const messages = await Promise.all(ids.map((id) => server.message(runId, id, stop)))
  const last = messages.at(-1)
  return {
    text: messages.map(({ text }) => text).join('\n\n'),
    decision: last?.decision ?? null,
    ...(last?.mode !== undefined && { mode: last.mode }),
    attachments: messages.flatMap(({ attachments }) => attachments ?? []),
  }
}

/** Base prompt and skills, before the first message of a session. */
async function preamble(execution: Execution): Promise<string | null> {
  if (!execution.state.get().opensSession) return null
  return inOne([execution.order.base_prompt, await skillInstructions(execution)])
}

const sandboxLost = {
  code: 'sandbox_lost',
  phase: 'turn',
  message: "The agent's sandbox is gone.",
  nextStep: 'Send a follow-up: the workspace is kept, and another sandbox takes it up.',
} as const
