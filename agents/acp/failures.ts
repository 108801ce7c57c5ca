// What went wrong, in the words of the run.
import { logTail, type RunFailure } from '../../domain/failure.ts'
import type { Journal } from '../../domain/journal.ts'
import type { Phase } from '../../domain/state.ts'
import type { RpcError } from './messages.ts'

/** JSON-RPC code by which an agent says that it has no valid login. */
const AUTH_REQUIRED = -32000

/** The agent did not answer a cancel in time: it has to be ended from outside. */
export class AgentStuckError extends Error {
  override readonly name = 'AgentStuckError'
}

const unauthorized = /\b(401|403)\b|unauthori[sz]ed|authenticat|invalid.{0,20}(api.?key|credential|token)|forbidden/i
const unknownModel = /model.{0,80}(not found|does not exist|not supported|not available)|unknown model|model_not_found/i
const unavailable =
  /\b(408|429|5\d\d)\b|overloaded|rate.?limit|too many requests|quota|unavailable|high demand|internal server error|bad gateway|timed? ?out|ECONN|ENOTFOUND|EAI_AGAIN|fetch failed|network|connection|retry/i

/** How the gateway's refusal of a call names itself: see store/money/admit.ts. */
const stopped = /\bambient_budget\b/

/** The same of a call that the team's rules, or its keys, do not allow: see secrets/gateway/providers.ts. */
const notAllowed = /\bambient_not_allowed\b/

const ruledOut = (phase: Phase, log: string): RunFailure => ({
  code: 'invalid_run',
  phase,
  message: 'The team does not allow this call of a model.',
  logTail: log,
  nextStep: 'Name another model, or have an admin of the team look at its rules: `ambient models rules`.',
})

/** Among those, one that a budget cannot count: see store/models/limited.ts. */
const unpriced = /AMBIENT_UNPRICED_MODELS/

const priceless = (phase: Phase, log: string): RunFailure => ({
  code: 'invalid_run',
  phase,
  message: 'The price of this model is not known, and a budget or credits limit the run.',
  logTail: log,
  nextStep:
    'Name another model, or have the operator give its price in AMBIENT_MODELS_FILE (or set AMBIENT_UNPRICED_MODELS=allow).',
})

/** There is nothing more to spend. Its host asks the server why, and the run waits for it. */
const budgetStop = (phase: Phase): RunFailure => ({
  code: 'budget_exhausted',
  phase,
  message: 'There is nothing more to spend on models.',
  nextStep: 'Raise the budget that is used up, or give the team credits, and send the message again.',
})

/** The failure behind an error that the agent answered with. */
export function failureOfError(error: RpcError, phase: Phase): RunFailure {
  const details =
    error.data === undefined ? '' : typeof error.data === 'string' ? error.data : JSON.stringify(error.data)
  const said = `${error.message} ${details}`.trim()
  const log = logTail(said)
  if (stopped.test(said)) return budgetStop(phase)
  if (notAllowed.test(said)) return unpriced.test(said) ? priceless(phase, log) : ruledOut(phase, log)
  if (error.code === AUTH_REQUIRED || unauthorized.test(said)) {
    return {
      code: 'model_unauthorized',
      phase,
      message: 'The model provider does not accept the key.',
      logTail: log,
      nextStep: "Check the provider's key in the server's settings, and that the key may use this model.",
    }
  }
  if (unknownModel.test(said)) {
    return {
      code: 'invalid_run',
      phase,
      message: 'The model provider does not know this model.',
      logTail: log,
      nextStep: 'Name another model, or leave the model out.',
    }
  }
  if (unavailable.test(said)) {
    return {
      code: 'model_unavailable',
      phase,
      message: 'The model provider did not answer as it should.',
      logTail: log,
      nextStep: 'Send the message again later, or use another model.',
    }
  }
  return {
    code: 'agent_protocol_error',
    phase,
    message: `The agent answered with an error: ${error.message.slice(0, 300)}`,
    logTail: log,
    nextStep: 'Send the message again. If it happens again, the log says what the agent did not like.',
  }
}

/** The failure of a model that the agent reported as a normal end of its turn. */
export const disguisedFailure = (told: string): RunFailure => ({
  code: 'model_unavailable',
  phase: 'turn',
  message: 'The model provider did not answer as it should.',
  logTail: logTail(told),
  nextStep: 'Send the message again later, or use another model.',
})

export const refused: RunFailure = {
  code: 'agent_refused',
  phase: 'turn',
  message: 'The agent refused the task.',
  nextStep: 'Read its last message, and put the task in other words.',
}

/** A failure as events serve it. */
export const served = ({ code, phase, message, logTail: log, nextStep }: RunFailure) => ({
  code,
  phase,
  message,
  ...(log === undefined ? {} : { log_tail: log }),
  ...(nextStep === undefined ? {} : { next_step: nextStep }),
})

/** An answer came for a question that this process of the agent has not asked. */
export const lostQuestion: RunFailure = {
  code: 'sandbox_lost',
  phase: 'turn',
  message: 'The agent that asked this question is gone.',
  nextStep: 'Send a message that tells the agent what to do; it asks again if it has to.',
}

/** The failure of an agent whose process is gone. */
export async function failureOfExit(journal: Journal, phase: 'agent_start' | 'turn'): Promise<RunFailure> {
  const exit = await journal.exit()
  const tail = logTail(await journal.stderrTail())
  const log = tail === '' ? {} : { logTail: tail }
  if (exit === null || exit.lost) {
    return {
      code: 'sandbox_lost',
      phase,
      message: 'The sandbox is gone, and how the agent ended is not known.',
      ...log,
      nextStep: 'Start the run again.',
    }
  }
  const when = phase === 'turn' ? 'in the middle of its turn' : 'before it was ready'
  if (exit.outOfMemory) {
    return {
      code: phase === 'turn' ? 'agent_exited' : 'agent_start_failed',
      phase,
      message: `The agent ran out of memory and was killed ${when}.`,
      exitCode: exit.code,
      ...log,
      nextStep: "Give the sandbox more memory, or let the task's commands use less.",
    }
  }
  return {
    code: phase === 'turn' ? 'agent_exited' : 'agent_start_failed',
    phase,
    message: `The agent ended ${when}, with exit code ${exit.code}.`,
    exitCode: exit.code,
    ...log,
    nextStep: 'The log is the end of what it wrote. Send a message to go on, or start the run again.',
  }
}
