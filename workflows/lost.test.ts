import { describe, expect, test } from 'vitest'
import { inWorld, terminal, untilCancelled, useTemporal } from '../test/support/world.ts'
import type { TurnOutcome } from './contract.ts'

useTemporal()

const question = {
  questionId: 'q1',
  title: 'Run rm?',
  options: [{ optionId: 'yes', name: 'Yes', kind: 'allow_once' }],
}
const sandboxLost: TurnOutcome = {
  kind: 'failed',
  failure: { code: 'sandbox_lost', phase: 'turn', message: 'It is gone.' },
}
const ended: TurnOutcome = { kind: 'ended', stopReason: 'end_turn' }

describe('a run whose host is lost', () => {
  test('goes on with the same message on another host, and ends once', async () => {
    const world = await inWorld(
      { plan: { hostLostSeconds: 1 }, claims: ['lost', 'here'] },
      async ({ prompt, finished }) => {
        await prompt({ id: 'm1' })
        await finished()
      },
    )
    expect(world.log).toContain('begin 2 after host_lost')
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1, attempt 2'])
    expect(terminal(world)).toMatchObject([{ execution: 2, state: 'SUCCEEDED' }])
    expect(world.read).toEqual(new Set(['m1']))
  })

  test('ends as ERROR when it was lost as often as it may be', async () => {
    const world = await inWorld(
      { plan: { hostLostSeconds: 1, attempts: 2 }, claims: ['lost'] },
      async ({ prompt, finished }) => {
        await prompt({ id: 'm1' })
        await finished()
      },
    )
    expect(terminal(world)).toMatchObject([{ execution: 2, state: 'ERROR', failure: { code: 'host_unavailable' } }])
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual([])
  })

  test('is cancelled without waiting for the host', async () => {
    const world = await inWorld(
      { plan: { hostLostSeconds: 3 }, claims: ['lost'] },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'state CLAIMED')
        await send({ kind: 'cancel', id: 'c1', reason: 'Enough.' })
        await saw((line) => line === 'state CANCELLED')
        await finished()
      },
    )
    expect(terminal(world)).toMatchObject([{ state: 'CANCELLED', message: 'Enough.' }])
  })
})

describe('a run whose sandbox is lost in a turn', () => {
  test('goes on in another sandbox on the same host', async () => {
    let turns = 0
    const world = await inWorld(
      { turn: async () => (++turns === 1 ? sandboxLost : ended) },
      async ({ prompt, finished }) => {
        await prompt({ id: 'm1' })
        await finished()
      },
    )
    expect(world.log.filter((line) => /^(begin|claim|turn|dispose)/.test(line))).toEqual([
      'begin 1',
      'claim',
      'turn m1',
      'dispose keeping the workspace',
      'begin 2 after sandbox_lost',
      'turn m1, attempt 2',
      'dispose keeping the workspace',
    ])
    expect(terminal(world)).toMatchObject([{ execution: 2, state: 'SUCCEEDED' }])
  })

  test('ends as ERROR after as many attempts as it may make', async () => {
    const world = await inWorld({ turn: async () => sandboxLost }, async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await finished()
    })
    const turns = world.log.filter((line) => line.startsWith('turn'))
    expect(turns).toEqual(['turn m1', 'turn m1, attempt 2', 'turn m1, attempt 3'])
    expect(terminal(world)).toMatchObject([{ execution: 3, state: 'ERROR', failure: { code: 'sandbox_lost' } }])
  })

  test('begins to count anew with each message', async () => {
    let turns = 0
    const world = await inWorld(
      { plan: { attempts: 2 }, turn: async () => (++turns % 2 === 1 ? sandboxLost : ended) },
      async ({ prompt, finished }) => {
        await prompt({ id: 'm1' })
        await prompt({ id: 'm2' })
        await finished()
      },
    )
    expect(terminal(world)).toMatchObject([{ state: 'SUCCEEDED' }])
  })
})

describe('a question that nobody answers for long', () => {
  const asks = async (turn: { kind: string; belated?: boolean }): Promise<TurnOutcome> =>
    turn.kind === 'prompt' ? { kind: 'question', question } : ended
  const plan = { questionMinutes: 0.01 }

  test('gives its sandbox up, and the answer goes on in another one', async () => {
    const world = await inWorld({ plan, turn: asks }, async ({ prompt, saw, send, status, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'sandbox gone')
      expect(await status()).toMatchObject({ state: 'BLOCKED', openQuestions: ['q1'] })
      await send({ kind: 'answer', id: 'a1', questionId: 'q1', optionId: 'yes' })
      await finished()
    })
    expect(world.log.filter((line) => /^(begin|turn|checkpoint|dispose)/.test(line))).toEqual([
      'begin 1',
      'turn m1',
      'checkpoint',
      'dispose keeping the workspace',
      'begin 2 after answered',
      'turn belated answer yes',
      'dispose keeping the workspace',
    ])
    expect(terminal(world)).toMatchObject([{ execution: 2, state: 'SUCCEEDED' }])
  })

  test('is left behind by an interrupting message', async () => {
    const world = await inWorld({ plan, turn: asks }, async ({ prompt, saw, send, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'sandbox gone')
      await prompt({ id: 'm2', delivery: 'interrupt' })
      await saw((line) => line === 'turn m2')
      await send({ kind: 'answer', id: 'a1', questionId: 'q1', optionId: 'yes' })
      await finished()
    })
    expect(world.log).toContain('begin 2 after interrupted')
    expect(terminal(world)).toHaveLength(1)
  })

  test('can be cancelled then', async () => {
    const world = await inWorld({ plan, turn: asks }, async ({ prompt, saw, send, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'sandbox gone')
      await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
      await finished()
    })
    expect(terminal(world)).toMatchObject([{ execution: 1, state: 'CANCELLED' }])
  })
})

describe('a run whose workflow an operator terminated', () => {
  test('is ended by a cancel, and what it left is removed', async () => {
    const world = await inWorld(
      { abandoned: true, turn: async (_turn, signal) => untilCancelled(signal) },
      async ({ prompt, saw, terminate, cancelEnded, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await terminate()
        await cancelEnded('No longer needed.')
        await finished()
      },
    )
    expect(world.log.slice(-3)).toEqual([
      'abandoned: No longer needed.',
      'dispose keeping the workspace',
      'sandbox gone',
    ])
  })

  test('takes up a message that comes while it is being ended', async () => {
    const come = Promise.withResolvers<void>()
    const world = await inWorld({ abandoned: true, abandon: () => come.promise }, async (world) => {
      await world.cancelEnded('No longer needed.')
      await world.saw((line) => line.startsWith('abandoned'))
      await world.prompt({ id: 'm1' })
      come.resolve()
      await world.finished()
    })
    expect(world.log).toContain('turn m1')
    expect(terminal(world)).toMatchObject([{ state: 'SUCCEEDED' }])
  })

  test('takes up the messages that its former workflow had not come to', async () => {
    const world = await inWorld(
      {
        plan: (execution) =>
          execution === 2 ? { unread: [{ id: 'm2', kind: 'prompt', delivery: 'queue' }], heldBy: null } : {},
        turn: async (turn, signal) =>
          turn.kind === 'prompt' && turn.messageId === 'm1' ? untilCancelled(signal) : ended,
      },
      async ({ prompt, saw, terminate, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'm2' })
        await terminate()
        await prompt({ id: 'm3' })
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn m3', 'turn m2'])
  })
})

test('a run that has worked for as long as it may ends FAILED, and says which limit it was', async () => {
  const world = await inWorld(
    { plan: { runMinutes: 0.02 }, turn: async (_turn, signal) => untilCancelled(signal) },
    async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await finished()
    },
  )
  expect(terminal(world)).toMatchObject([{ state: 'FAILED', failure: { code: 'time_limit' } }])
  expect(world.log).toContain('stop')
})

test('a run that is not ready when the hour for that is over ends as ERROR, and keeps nothing', async () => {
  const world = await inWorld({ pace: 'hurried', prepare: untilCancelled }, async ({ prompt, finished }) => {
    await prompt({ id: 'm1' })
    await finished()
  })
  expect(terminal(world)).toMatchObject([{ state: 'ERROR', failure: { code: 'timed_out', phase: 'workspace' } }])
  expect(world.log.filter((line) => /^(claim|prepare|turn|dispose)/.test(line))).toEqual([
    'claim',
    'prepare',
    'dispose everything',
  ])
})
