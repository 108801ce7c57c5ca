import { ApplicationFailure } from '@temporalio/common'
import { describe, expect, test } from 'vitest'
import { inWorld, terminal, untilCancelled, useTemporal } from '../test/support/world.ts'
import type { TurnInput, TurnOutcome } from './contract.ts'
import { RUN_FAILURE } from './options.ts'

const temporal = useTemporal()

describe('a run', () => {
  test('goes from its prompt to one terminal state, and leaves nothing running', async () => {
    const world = await inWorld({}, async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await finished()
    })
    expect(world.states.map(({ state }) => state)).toEqual(['CLAIMED', 'INPROGRESS', 'SUCCEEDED'])
    // What is told to the database is told beside the work, and may come a little later.
    expect(world.log).toContain('sandbox running')
    expect(world.log.filter((line) => !line.startsWith('state') && line !== 'sandbox running')).toEqual([
      'begin 1',
      'claim',
      'prepare',
      'turn m1',
      'collect',
      'dispose keeping the workspace',
      'sandbox gone',
    ])
  })

  test('takes a message that is delivered twice once', async () => {
    const world = await inWorld({}, async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await prompt({ id: 'm1' })
      await finished()
    })
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1'])
  })

  test('does nothing for a message that an earlier workflow has dealt with', async () => {
    const world = await inWorld({ alreadyRead: () => true }, async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await finished()
    })
    expect(world.log).toEqual([])
  })

  test('runs a follow-up that arrives during a turn after it', async () => {
    const gate = Promise.withResolvers<void>()
    const world = await inWorld(
      {
        turn: async (turn) => {
          if (turn.kind === 'prompt' && turn.messageId === 'm1') await gate.promise
          return { kind: 'ended', stopReason: 'end_turn' }
        },
      },
      async ({ prompt, saw, finished, status }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'm2' })
        expect((await status()).queuedMessages).toBe(1)
        gate.resolve()
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn m2'])
    expect(terminal(world)).toHaveLength(1)
  })

  test('interrupts a turn for a message that asks for it, and goes on with that message before queued ones', async () => {
    const world = await inWorld(
      {
        turn: async (turn, signal) => {
          if (turn.kind === 'prompt' && turn.messageId === 'm1') await untilCancelled(signal)
          return { kind: 'ended', stopReason: 'end_turn' }
        },
      },
      async ({ prompt, saw, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'later' })
        await prompt({ id: 'now', delivery: 'interrupt' })
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn now', 'turn later'])
    expect(terminal(world).map(({ state }) => state)).toEqual(['SUCCEEDED'])
  })

  test('is BLOCKED by a question and holds no activity until its answer comes', async () => {
    const question = {
      questionId: 'q1',
      title: 'Run rm?',
      options: [{ optionId: 'yes', name: 'Yes', kind: 'allow_once' }],
    }
    const world = await inWorld(
      {
        turn: async (turn) =>
          turn.kind === 'prompt' ? { kind: 'question', question } : { kind: 'ended', stopReason: 'end_turn' },
      },
      async ({ prompt, saw, send, status, finished, runId }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'state BLOCKED')
        expect(await status()).toMatchObject({ state: 'BLOCKED', openQuestions: ['q1'] })
        const inHand = async () =>
          (await temporal.client().workflow.getHandle(runId).describe()).raw.pendingActivities ?? []
        // While it waits, what it has done so far is stored; then nothing is left in hand.
        await expect.poll(inHand).toEqual([])
        expect(await status()).toMatchObject({ state: 'BLOCKED', openQuestions: ['q1'] })
        await send({ kind: 'answer', id: 'a1', questionId: 'q1', optionId: 'yes' })
        await finished()
      },
    )
    expect(world.states.map(({ state }) => state)).toEqual([
      'CLAIMED',
      'INPROGRESS',
      'BLOCKED',
      'INPROGRESS',
      'SUCCEEDED',
    ])
    expect(world.log).toContain('turn answer yes')
  })

  describe('whose agent wants to know something of a person', () => {
    const asks = { questionId: 'ask1', title: 'Which colour?', options: [] }
    const asking = (turn: TurnInput): TurnOutcome => ({
      kind: 'ended',
      stopReason: 'end_turn',
      ...(turn.kind === 'prompt' && turn.messageId === 'm1' ? { asks } : {}),
    })

    test('is BLOCKED once the turn has ended, and goes on with the next message in the same sandbox', async () => {
      const world = await inWorld({ turn: async (turn) => asking(turn) }, async ({ prompt, saw, status, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'state BLOCKED')
        expect(await status()).toMatchObject({ state: 'BLOCKED', openQuestions: ['ask1'] })
        await prompt({ id: 'answer' })
        await finished()
      })
      const states = ['CLAIMED', 'INPROGRESS', 'BLOCKED', 'INPROGRESS', 'SUCCEEDED']
      expect(world.states.map(({ state }) => state)).toEqual(states)
      expect(world.states.find(({ state }) => state === 'BLOCKED')?.question).toEqual(asks)
      expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn answer'])
      expect(world.log.filter((line) => line.startsWith('begin'))).toEqual(['begin 1'])
    })

    test('gives its sandbox up when nobody says anything for long, and goes on in another one when they do', async () => {
      const world = await inWorld(
        { turn: async (turn) => asking(turn), plan: { questionMinutes: 0.005 } },
        async ({ prompt, saw, finished }) => {
          await prompt({ id: 'm1' })
          await saw((line) => line === 'sandbox gone')
          await prompt({ id: 'answer' })
          await finished()
        },
      )
      expect(world.log.filter((line) => /^(begin|turn)/.test(line))).toEqual([
        'begin 1',
        'turn m1',
        expect.stringMatching(/^begin 2/),
        'turn answer',
      ])
      expect(terminal(world).map(({ state }) => state)).toEqual(['SUCCEEDED'])
    })

    test('is not BLOCKED where a message waits already, which overtakes the question', async () => {
      const gate = Promise.withResolvers<void>()
      const world = await inWorld(
        {
          turn: async (turn) => {
            if (turn.kind === 'prompt' && turn.messageId === 'm1') await gate.promise
            return asking(turn)
          },
        },
        async ({ prompt, saw, finished }) => {
          await prompt({ id: 'm1' })
          await saw((line) => line === 'turn m1')
          await prompt({ id: 'm2' })
          gate.resolve()
          await finished()
        },
      )
      expect(world.states.map(({ state }) => state)).not.toContain('BLOCKED')
      expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn m2'])
    })

    test('is stopped by a cancel while it waits', async () => {
      const world = await inWorld({ turn: async (turn) => asking(turn) }, async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'state BLOCKED')
        await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
        await finished()
      })
      expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED'])
    })
  })

  test('is stopped by a cancel in a turn, and drops the messages it had not come to', async () => {
    const world = await inWorld(
      { turn: (_turn, signal) => untilCancelled(signal) },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'm2' })
        await send({ kind: 'cancel', id: 'c1', reason: 'No longer needed.' })
        await finished()
      },
    )
    expect(terminal(world)).toMatchObject([{ state: 'CANCELLED', message: 'No longer needed.' }])
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1'])
    expect(world.log.indexOf('stop')).toBeLessThan(world.log.indexOf('collect'))
    expect(world.log).toContain('sandbox gone')
  })

  test.each([
    ['a cancel ends it as CANCELLED', { kind: 'cancel', id: 'c1', reason: 'Enough.' }, 'CANCELLED', ['turn m1']],
    [
      'an interrupt goes on with its message',
      { kind: 'prompt', id: 'now', delivery: 'interrupt' },
      'SUCCEEDED',
      ['turn m1', 'turn now'],
    ],
  ] as const)('when the worker dies that was to stop the turn, %s', async (_, mail, state, turns) => {
    const world = await inWorld(
      {
        turn: async (turn, signal) => {
          if (turn.kind === 'prompt' && turn.messageId === 'now') return { kind: 'ended', stopReason: 'end_turn' }
          await untilCancelled(signal).catch(() => {})
          // What the next worker says of it.
          throw ApplicationFailure.retryable('The host worker was started again.', 'HostRestarted')
        },
      },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await send(mail)
        await finished()
      },
    )
    expect(terminal(world).map((change) => change.state)).toEqual([state])
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(turns)
  })

  test('is stopped by a cancel while it is BLOCKED', async () => {
    const question = { questionId: 'q1', title: 'Run rm?', options: [] }
    const world = await inWorld(
      { turn: async () => ({ kind: 'question', question }) },
      async ({ prompt, saw, send, finished }) => {
        await prompt()
        await saw((line) => line === 'state BLOCKED')
        await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
        await finished()
      },
    )
    expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED'])
  })

  test('ends CANCELLED, cleaned up, when an operator cancels its workflow', async () => {
    const world = await inWorld(
      { turn: (_turn, signal) => untilCancelled(signal) },
      async ({ prompt, saw, finished, runId }) => {
        await prompt()
        await saw((line) => line.startsWith('turn'))
        await temporal.client().workflow.getHandle(runId).cancel()
        await finished()
      },
    )
    expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED'])
    expect(world.log).toContain('dispose keeping the workspace')
  })

  test('FAILED by its set-up says why, and keeps nothing', async () => {
    const failure = { code: 'setup_command_failed', phase: 'setup', message: 'npm ci failed', exitCode: 1 }
    const world = await inWorld(
      {
        prepare: async () => {
          throw ApplicationFailure.create({ type: RUN_FAILURE, nonRetryable: true, details: [failure] })
        },
      },
      async ({ prompt, finished }) => {
        await prompt()
        await finished()
      },
    )
    expect(terminal(world)).toMatchObject([{ state: 'FAILED', timeline: 'oz_run_failed', failure }])
    expect(world.log).toContain('dispose everything')
    expect(world.log).not.toContain('collect')
  })

  test("ends as ERROR when the platform failed, and as FAILED when the person's side did", async () => {
    for (const [code, state] of [
      ['sandbox_lost', 'ERROR'],
      ['agent_exited', 'FAILED'],
    ] as const) {
      const world = await inWorld(
        { turn: async () => ({ kind: 'failed', failure: { code, phase: 'turn', message: 'gone' } }) },
        async ({ prompt, finished }) => {
          await prompt()
          await finished()
        },
      )
      expect(terminal(world)).toMatchObject([{ state, failure: { code } }])
    }
  })

  test('begins the interrupting turn only when the interrupted one has ended', async () => {
    const log: string[] = []
    await inWorld(
      {
        turn: async (turn, signal) => {
          const id = turn.kind === 'prompt' ? turn.messageId : ''
          log.push(`begin ${id}`)
          if (id === 'm1') {
            await untilCancelled(signal).catch(() => {})
            await new Promise((resolve) => setTimeout(resolve, 1_000))
            log.push('end m1')
            throw signal.reason
          }
          return { kind: 'ended', stopReason: 'end_turn' }
        },
      },
      async ({ prompt, saw, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'now', delivery: 'interrupt' })
        await finished()
      },
    )
    expect(log).toEqual(['begin m1', 'end m1', 'begin now'])
  })

  test('gives the agent a message that was overtaken before its turn, together with the one that overtook it', async () => {
    const gate = Promise.withResolvers<void>()
    const world = await inWorld({ prepare: () => gate.promise }, async ({ prompt, saw, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'prepare')
      await prompt({ id: 'later' })
      await prompt({ id: 'now', delivery: 'interrupt' })
      gate.resolve()
      await finished()
    })
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn now after m1', 'turn later'])
  })

  test('keeps the workspace of earlier work when a follow-up is cancelled before its agent has started', async () => {
    const secondTime = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    let times = 0
    const world = await inWorld(
      {
        plan: { idleMinutes: 10 },
        prepare: async () => {
          times += 1
          if (times === 1) return
          secondTime.resolve()
          await gate.promise
          throw (await import('@temporalio/activity')).Context.current().cancellationSignal.reason
        },
      },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'state SUCCEEDED')
        await prompt({ id: 'm2' })
        await secondTime.promise
        await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
        gate.resolve()
        await finished()
      },
    )
    expect(terminal(world).map(({ state }) => state)).toEqual(['SUCCEEDED', 'CANCELLED'])
    expect(world.log.filter((line) => line.startsWith('dispose'))).toEqual(['dispose keeping the workspace'])
  })

  test('marks a message as read although it is cancelled at that moment', async () => {
    let isAway = true
    const tried = Promise.withResolvers<void>()
    const first = Promise.withResolvers<TurnOutcome>()
    const world = await inWorld(
      {
        turn: () => first.promise,
        accept: async () => {
          tried.resolve()
          if (isAway) throw new Error('the database is away')
        },
      },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'm2' })
        first.resolve({ kind: 'ended', stopReason: 'end_turn' })
        await tried.promise
        await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
        await saw((line) => line === 'stop')
        isAway = false
        await finished()
      },
    )
    expect([...world.read]).toEqual(['m1', 'm2'])
    expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED'])
  })

  test('needs no word of its own for a sandbox that is ready with its claim', async () => {
    const world = await inWorld({ quick: true }, async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await finished()
    })
    expect(world.log).toEqual([
      'begin 1',
      'claim',
      ...['state CLAIMED', 'sandbox running', 'state INPROGRESS'],
      ...['turn m1', 'collect', 'dispose keeping the workspace'],
      ...['state SUCCEEDED', 'sandbox gone'],
    ])
  })

  test('carries out a message that comes after a cancel', async () => {
    const world = await inWorld(
      {
        turn: async (turn, signal) => {
          if (turn.kind === 'prompt' && turn.messageId === 'm1') await untilCancelled(signal)
          return { kind: 'ended', stopReason: 'end_turn' }
        },
      },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'dropped' })
        await send({ kind: 'cancel', id: 'c1', reason: 'Not this.' })
        await prompt({ id: 'm2' })
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn m2'])
    expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED', 'SUCCEEDED'])
  })

  test('carries out a message that comes while it learns that the one before was dealt with', async () => {
    const asked = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const world = await inWorld(
      {
        alreadyRead: (id) => id === 'm1',
        begin: async () => {
          asked.resolve()
          await gate.promise
        },
      },
      async ({ prompt, finished }) => {
        await prompt({ id: 'm1' })
        await asked.promise
        await prompt({ id: 'm2' })
        gate.resolve()
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m2'])
  })

  test('begins a second execution in the kept sandbox for a message after its end', async () => {
    const world = await inWorld({ plan: { idleMinutes: 10 } }, async ({ prompt, saw, send, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'state SUCCEEDED')
      await prompt({ id: 'm2' })
      await saw((line) => line === 'turn m2')
      await send({ kind: 'cancel', id: 'c', reason: 'Give the sandbox up.' })
      await finished()
    })
    expect(world.log.filter((line) => line.startsWith('begin'))).toEqual(['begin 1', 'begin 2'])
    expect(world.log.filter((line) => line.startsWith('claim'))).toHaveLength(1)
    expect(world.log.filter((line) => line.startsWith('dispose'))).toHaveLength(1)
    expect(terminal(world).map(({ execution }) => execution)).toEqual([1, 2])
  })
})

describe('a run that there is no room for', () => {
  test('asks for no host until it is let in', async () => {
    const world = await inWorld({ plan: { admitted: false } }, async ({ prompt, saw, send, status, finished, log }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'begin 1')
      // A message for the line does not end the wait, nor does the word that an earlier execution was let in.
      await send({ kind: 'admit', id: 'a0', execution: 0 })
      await prompt({ id: 'm2' })
      expect(await status()).toMatchObject({ state: 'QUEUED', queuedMessages: 2 })
      expect(log).toEqual(['begin 1'])
      await send({ kind: 'admit', id: 'a1', execution: 1 })
      await finished()
    })
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn m2'])
    expect(terminal(world).map(({ state }) => state)).toEqual(['SUCCEEDED'])
  })

  test('begins although it was let in before it knew that it would have to wait', async () => {
    const asked = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const world = await inWorld(
      {
        plan: { admitted: false },
        begin: async () => {
          asked.resolve()
          await gate.promise
        },
      },
      async ({ prompt, send, finished }) => {
        await prompt({ id: 'm1' })
        await asked.promise
        await send({ kind: 'admit', id: 'a1', execution: 1 })
        gate.resolve()
        await finished()
      },
    )
    expect(world.log).toContain('turn m1')
  })

  test('ends CANCELLED when it is cancelled in line, and has asked for nothing', async () => {
    const world = await inWorld({ plan: { admitted: false } }, async ({ prompt, saw, send, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'begin 1')
      await send({ kind: 'cancel', id: 'c1', reason: 'No longer needed.' })
      await finished()
    })
    expect(world.log).toEqual(['begin 1', 'state CANCELLED'])
    expect([...world.read]).toEqual(['m1'])
  })

  test('ends once when it is let in as it ends CANCELLED', async () => {
    let admit = async () => {}
    const recorded = async () => {
      await admit()
      admit = async () => {}
    }
    const world = await inWorld({ plan: { admitted: false }, recorded }, async ({ prompt, saw, send, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'begin 1')
      admit = () => send({ kind: 'admit', id: 'a1', execution: 1 })
      await send({ kind: 'cancel', id: 'c1', reason: 'No longer needed.' })
      await finished()
    })
    expect(terminal(world)).toHaveLength(1)
  })

  test('ends the sandbox that was kept for it when it is cancelled in line', async () => {
    const plan = (execution: number) => ({ idleMinutes: 10, admitted: execution === 1 })
    const world = await inWorld({ plan }, async ({ prompt, saw, send, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'state SUCCEEDED')
      await prompt({ id: 'm2' })
      await saw((line) => line === 'begin 2')
      await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
      await finished()
    })
    expect(terminal(world).map(({ state }) => state)).toEqual(['SUCCEEDED', 'CANCELLED'])
    expect(world.log.filter((line) => /^(turn|dispose)/.test(line))).toEqual([
      'turn m1',
      'dispose keeping the workspace',
    ])
  })
})

describe('a sandbox that is kept', () => {
  test('is given up, its workspace kept, when others wait for it', async () => {
    const world = await inWorld({ plan: { idleMinutes: 60 } }, async ({ prompt, saw, send, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'state SUCCEEDED')
      await send({ kind: 'release', id: 'r1', execution: 1 })
      await finished()
    })
    expect(world.log.slice(-2)).toEqual(['dispose keeping the workspace', 'sandbox gone'])
  })

  test('serves the follow-up that came before anybody asked for it, and is not given up for what was asked of an earlier execution', async () => {
    const world = await inWorld({ plan: { idleMinutes: 60 } }, async ({ prompt, saw, send, finished, log }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'state SUCCEEDED')
      await prompt({ id: 'm2' })
      await send({ kind: 'release', id: 'r1', execution: 1 })
      await saw((line) => line === 'turn m2')
      await saw(() => log.filter((line) => line === 'state SUCCEEDED').length === 2)
      await prompt({ id: 'm3' })
      await saw((line) => line === 'turn m3')
      await send({ kind: 'release', id: 'r2', execution: 3 })
      await finished()
    })
    expect(world.log.filter((line) => line.startsWith('dispose'))).toHaveLength(1)
    expect(world.log.filter((line) => line.startsWith('claim'))).toHaveLength(1)
  })
})
