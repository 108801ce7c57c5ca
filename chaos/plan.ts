// One run as it is meant to go, whoever is killed meanwhile: what is sent, and what must be there at the end.
import type { RunState, TerminalState } from '../domain/state.ts'
import { type ScriptStep, script } from '../test/support/model-server.ts'
import type { HostKind } from './options.ts'

/** How long a command or an answer that is never to end by itself would take. */
export const ENDLESS_S = 3_600

export interface Message {
  /** Names it everywhere: in the model's script, in the ledger, in the transcript. */
  id: string
  /** What is sent. */
  text: string
  /** What the agent says, each part once. */
  says: readonly string[]
  /** What its commands append to the ledger, in order. */
  ledger: readonly string[]
  /** Requests of the model that it takes; none where a command is the agent. */
  requests: number
  /** It is interrupted or cancelled: of all these there is a beginning. */
  isBrokenOff: boolean
}

export interface Conversation {
  /** Waits until the agent has said this. */
  said(text: string): Promise<void>
  /** Waits for a state, of this or a later execution. */
  state(state: RunState, execution?: number): Promise<void>
  /** Waits for the end of this execution, however it ends. */
  ended(execution: number): Promise<void>
  followUp(message: Message, delivery: 'queue' | 'interrupt'): Promise<void>
  /** Answers the nth question of the run, once it is asked. */
  answer(count: number, choice: 'allow' | 'deny'): Promise<void>
  cancel(): Promise<void>
}

export interface Plan {
  /** Names the run for people. */
  name: string
  scenario: string
  agent: 'acp' | 'command'
  host: HostKind
  /** All but the pool. */
  request: { prompt: string; config: Record<string, unknown>; environment: Record<string, unknown> }
  messages: readonly Message[]
  /** Everything that is done after the start. */
  steer(conversation: Conversation): Promise<void>
  expected: {
    /** Of the last execution; those before it succeed. */
    ends: TerminalState
    executions: readonly [least: number, most: number]
    questions: readonly [least: number, most: number]
    /** The ledger's first line, by the set-up command. */
    setup: string
    /** False where set-up fails, or may be cut short. */
    setupEnds: boolean
  }
}

export const LEDGER = 'ledger.txt'
export const REPOSITORY = 'project'

/** What an agent with a model is told, and follows to the letter. */
export function scripted(id: string, steps: readonly ScriptStep[], isBrokenOff = false): Message {
  return {
    id,
    text: script(id, steps),
    says: steps.flatMap(({ text }) => (text === undefined ? [] : [text])),
    ledger: steps.flatMap(({ shell }) => shell?.match(/(?<=echo )\S+(?= >> )/g) ?? []),
    requests: steps.length,
    isBrokenOff,
  }
}

/** What the command agent's message tells it: how many lines, with which pauses, and how to end. */
export interface CommandTask {
  lines: number
  pauseMs: number
  end: 'done' | 'fail' | 'never'
}

/** One line for each argument of {@link COMMAND}. */
export function commanded(id: string, { lines, pauseMs, end }: CommandTask, isBrokenOff = false): Message {
  const said = Array.from({ length: lines }, (_, index) => `${id}/${index + 1}`)
  return { id, text: [id, lines, pauseMs / 1_000, end].join(' '), says: said, ledger: said, requests: 0, isBrokenOff }
}

/** The command agent: does what its message says, line by line, and prints what it has done. */
export const COMMAND = [
  'sh',
  '-c',
  `set -- $1; n=1
while [ $n -le $2 ]; do echo "$1/$n" >> ${LEDGER}; echo "$1/$n"; sleep $3; n=$((n + 1)); done
case $4 in never) (sleep ${ENDLESS_S}); ;; fail) exit 7 ;; esac`,
  'command',
  '{prompt}',
]
