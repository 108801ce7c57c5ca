// The kinds of runs there are, with what in them is left to the seed.
import type { ScriptStep } from '../test/support/model-server.ts'
import type { HostKind } from './options.ts'
import { COMMAND, type CommandTask, commanded, ENDLESS_S, LEDGER, type Message, type Plan, scripted } from './plan.ts'
import type { Random } from './random.ts'

/** What a scenario makes of a run; the rest is the same for all. */
interface Story {
  messages: readonly Message[]
  steer?: Plan['steer']
  expected: Pick<Plan['expected'], 'ends'> & Partial<Plan['expected']>
  config?: Record<string, unknown>
  failsToSetUp?: boolean
}

interface Scenario {
  name: string
  agent: Plan['agent']
  /** How often, in parts of the sum. */
  weight: number
  /** `refusals`: the agent goes on after a refused permission. Some take it for the end of their turn. */
  tell(random: Random, id: string, refusals: boolean): Story
}

/** Plans of so many runs, on the hosts in turn. */
export function makePlans(
  count: number,
  random: Random,
  { hosts, refusals }: { hosts: readonly HostKind[]; refusals: boolean },
): Plan[] {
  const choices = scenarios.map((scenario) => [scenario, scenario.weight] as const)
  return Array.from({ length: count }, (_, index) => {
    const host = hosts[index % hosts.length] ?? 'direct'
    return planOf(random.weighted(choices), random, { id: `run${index + 1}`, host, refusals })
  })
}

function planOf(
  { name: scenario, agent, tell }: Scenario,
  random: Random,
  { id, host, refusals }: { id: string; host: HostKind; refusals: boolean },
): Plan {
  const { messages, steer, expected, config, failsToSetUp } = tell(random, id, refusals)
  const setup = `${id}/setup`
  return {
    name: `${id} (${scenario}, ${agent}, ${host})`,
    scenario,
    agent,
    host,
    request: {
      prompt: messages[0]?.text ?? '',
      config: {
        idle_timeout_minutes: 0,
        permission_policy: 'allow',
        ...(agent === 'command' ? { harness: { type: 'command', command: COMMAND } } : {}),
        ...config,
      },
      environment: {
        setup_commands: [`echo ${setup} >> ${LEDGER}; sleep 0.2${failsToSetUp ? '; exit 3' : ''}`],
      },
    },
    messages,
    steer: steer ?? (async () => {}),
    expected: { executions: [1, 1], questions: [0, 0], setup, setupEnds: failsToSetUp !== true, ...expected },
  }
}

/** A step of an agent's work: some words in pieces, then a command that leaves its line in the ledger. */
function step(random: Random, id: string, number: number): ScriptStep {
  return {
    text: `Step ${number} of ${id}. `,
    chunks: random.between(2, 8),
    delayMs: random.between(10, 120),
    shell: `echo ${id}/${number} >> ${LEDGER}; sleep 0.${random.between(0, 8)}`,
  }
}

const steps = (random: Random, id: string, count: number) =>
  Array.from({ length: count }, (_, index) => step(random, id, index + 1))

/** An agent's work from its beginning to its end. */
const work = (random: Random, id: string, count = random.between(1, 3)): Message =>
  scripted(id, [...steps(random, id, count), { text: `Done with ${id}. `, chunks: random.between(1, 4), delayMs: 50 }])

/** An agent's work that never ends by itself: the model does not finish its answer, or a command does not end. */
function endlessWork(random: Random, id: string): Message {
  const text = endlessWords(id)
  const last = random.pick<ScriptStep>([
    { text, chunks: 2, waitFor: `never for ${id}`, holdAfter: 2 },
    // A grandchild, which has to go too.
    { text, shell: `(sleep ${ENDLESS_S}); true` },
  ])
  return scripted(id, [...steps(random, id, random.between(0, 2)), last], true)
}

const endlessWords = (id: string) => `No end of ${id}. `

const task = (random: Random, end: CommandTask['end'] = 'done'): CommandTask => ({
  lines: random.between(2, 12),
  pauseMs: random.between(50, 400),
  end,
})

/** Questions, each with its command; a refused one leaves no line. */
function asking(random: Random, id: string, refusals: boolean) {
  const choices = Array.from({ length: random.between(1, 2) }, () => {
    const choice = random.pick(['allow', 'deny'] as const)
    return refusals ? choice : 'allow'
  })
  const message = work(random, id, choices.length)
  const ledger = message.ledger.filter((_, index) => choices[index] === 'allow')
  return { choices, message: { ...message, ledger } }
}

const one = [1, 1] as const
const oneOrTwo = [1, 2] as const
const two = [2, 2] as const

export const scenarios: readonly Scenario[] = [
  {
    name: 'plain',
    agent: 'acp',
    weight: 3,
    tell: (random, id) => ({ messages: [work(random, `${id}-1`)], expected: { ends: 'SUCCEEDED' } }),
  },
  {
    name: 'follow-up at work',
    agent: 'acp',
    weight: 2,
    tell(random, id) {
      const [first, second] = [work(random, `${id}-1`), work(random, `${id}-2`)]
      return {
        messages: [first, second],
        async steer(run) {
          await run.said(first.says[0] ?? '')
          await run.followUp(second, 'queue')
        },
        // The first turn may have ended before the message was read.
        expected: { ends: 'SUCCEEDED', executions: oneOrTwo },
      }
    },
  },
  {
    name: 'follow-up after the end',
    agent: 'acp',
    weight: 2,
    tell(random, id) {
      const [first, second] = [work(random, `${id}-1`), work(random, `${id}-2`)]
      return {
        messages: [first, second],
        async steer(run) {
          await run.ended(1)
          await run.followUp(second, 'queue')
        },
        expected: { ends: 'SUCCEEDED', executions: two },
      }
    },
  },
  {
    name: 'kept sandbox',
    agent: 'acp',
    weight: 1,
    tell(random, id) {
      const [first, second] = [work(random, `${id}-1`), endlessWork(random, `${id}-2`)]
      return {
        messages: [first, second],
        config: { idle_timeout_minutes: 10 },
        async steer(run) {
          await run.ended(1)
          await run.followUp(second, 'queue')
          await run.said(endlessWords(second.id))
          await run.cancel()
        },
        expected: { ends: 'CANCELLED', executions: two },
      }
    },
  },
  {
    name: 'interrupt',
    agent: 'acp',
    weight: 2,
    tell(random, id) {
      const [first, second] = [endlessWork(random, `${id}-1`), work(random, `${id}-2`)]
      return {
        messages: [first, second],
        async steer(run) {
          await run.said(endlessWords(first.id))
          await run.followUp(second, 'interrupt')
        },
        expected: { ends: 'SUCCEEDED' },
      }
    },
  },
  {
    name: 'questions',
    agent: 'acp',
    weight: 3,
    tell(random, id, refusals) {
      const { choices, message } = asking(random, `${id}-1`, refusals)
      return {
        messages: [message],
        config: { permission_policy: 'ask' },
        async steer(run) {
          for (const [index, choice] of choices.entries()) await run.answer(index + 1, choice)
        },
        expected: { ends: 'SUCCEEDED', questions: [choices.length, choices.length] },
      }
    },
  },
  {
    name: 'question interrupted',
    agent: 'acp',
    weight: 1,
    tell(random, id) {
      const first = { ...work(random, `${id}-1`), ledger: [], isBrokenOff: true }
      const second = scripted(`${id}-2`, [{ text: `Only words of ${id}. `, chunks: 4, delayMs: 50 }])
      return {
        messages: [first, second],
        config: { permission_policy: 'ask' },
        async steer(run) {
          await run.state('BLOCKED')
          await run.followUp(second, 'interrupt')
        },
        expected: { ends: 'SUCCEEDED', questions: one },
      }
    },
  },
  {
    name: 'cancel at work',
    agent: 'acp',
    weight: 2,
    tell(random, id) {
      const message = endlessWork(random, `${id}-1`)
      return {
        messages: [message],
        async steer(run) {
          await run.said(endlessWords(message.id))
          await run.cancel()
        },
        expected: { ends: 'CANCELLED' },
      }
    },
  },
  {
    name: 'cancel while blocked',
    agent: 'acp',
    weight: 1,
    tell: (random, id) => ({
      messages: [{ ...work(random, `${id}-1`), ledger: [], isBrokenOff: true }],
      config: { permission_policy: 'ask' },
      async steer(run) {
        await run.state('BLOCKED')
        await run.cancel()
      },
      expected: { ends: 'CANCELLED', questions: one },
    }),
  },
  {
    name: 'cancel at once',
    agent: 'acp',
    weight: 1,
    tell: (random, id) => ({
      messages: [endlessWork(random, `${id}-1`)],
      steer: (run) => run.cancel(),
      expected: { ends: 'CANCELLED', setupEnds: false },
    }),
  },
  {
    name: 'plain',
    agent: 'command',
    weight: 3,
    tell: (random, id) => ({ messages: [commanded(`${id}-1`, task(random))], expected: { ends: 'SUCCEEDED' } }),
  },
  {
    name: 'many lines',
    agent: 'command',
    weight: 1,
    tell: (random, id) => ({
      messages: [commanded(`${id}-1`, { lines: random.between(200, 600), pauseMs: 5, end: 'done' })],
      expected: { ends: 'SUCCEEDED' },
    }),
  },
  {
    name: 'failure',
    agent: 'command',
    weight: 1,
    tell: (random, id) => ({ messages: [commanded(`${id}-1`, task(random, 'fail'))], expected: { ends: 'FAILED' } }),
  },
  {
    name: 'failing set-up',
    agent: 'command',
    weight: 1,
    tell: (random, id) => ({
      messages: [{ ...commanded(`${id}-1`, task(random)), isBrokenOff: true }],
      failsToSetUp: true,
      expected: { ends: 'FAILED' },
    }),
  },
  {
    name: 'follow-up at work',
    agent: 'command',
    weight: 1,
    tell(random, id) {
      const [first, second] = [commanded(`${id}-1`, task(random)), commanded(`${id}-2`, task(random))]
      return {
        messages: [first, second],
        async steer(run) {
          await run.said(first.says[0] ?? '')
          await run.followUp(second, 'queue')
        },
        expected: { ends: 'SUCCEEDED', executions: oneOrTwo },
      }
    },
  },
  {
    name: 'interrupt',
    agent: 'command',
    weight: 1,
    tell(random, id) {
      const first = commanded(`${id}-1`, task(random, 'never'), true)
      const second = commanded(`${id}-2`, task(random))
      const moment = random.pick(first.says as [string, ...string[]])
      return {
        messages: [first, second],
        async steer(run) {
          await run.said(moment)
          await run.followUp(second, 'interrupt')
        },
        expected: { ends: 'SUCCEEDED' },
      }
    },
  },
  {
    name: 'cancel at work',
    agent: 'command',
    weight: 1,
    tell(random, id) {
      const message = commanded(`${id}-1`, task(random, 'never'), true)
      const moment = random.pick(message.says as [string, ...string[]])
      return {
        messages: [message],
        async steer(run) {
          await run.said(moment)
          await run.cancel()
        },
        expected: { ends: 'CANCELLED' },
      }
    },
  },
]
