// Runs on the worker that holds the sandbox. The activities of a host, each with heartbeats and typed failures around it.
import { Context } from '@temporalio/activity'
import { ApplicationFailure } from '@temporalio/common'
import type {
  ExecutionRef,
  HostActivities,
  PoolActivities,
  SandboxPlace,
  TurnOutcome,
} from '../../workflows/contract.ts'
import { withTypedFailures } from '../failures.ts'
import type { Attendance, StopSignals } from './attended.ts'
import { checkpoint } from './checkpoint.ts'
import type { HostDeps } from './deps.ts'
import { withinDisk } from './disk.ts'
import { dispose } from './dispose.ts'
import { openExecution } from './execution.ts'
import { createHeadStart, type HeadStart } from './head-start.ts'
import type { Holdings } from './holdings.ts'
import { prepare } from './prepare.ts'
import { settle } from './settle.ts'
import { carryOutTurn } from './turn.ts'

/** Below the activity's own time, so that it ends by itself. In milliseconds. */
const CLAIM_MS = 8_000

export function makeHostActivities(
  deps: HostDeps,
  attendance: Attendance,
  holdings: Holdings,
): { pool: PoolActivities; host: HostActivities } {
  const prepareNow = async (ref: ExecutionRef, signals: StopSignals) => prepare(await openExecution(deps, ref, signals))
  const headStart = createHeadStart(prepareNow, {
    async undo(ref) {
      await dispose(deps, ref, false)
      holdings.release(ref.runId)
    },
    log: deps.log,
  })
  return {
    pool: {
      async claim(ref) {
        if (await holdings.take(ref.runId)) return await claim(deps, ref, holdings, headStart)
        // Rare: a run is let in only where the database knows of room. The pauses between tries grow.
        throw ApplicationFailure.create({
          type: 'HostFull',
          message: `This host holds ${deps.capacity} runs already.`,
        })
      },
    },
    host: {
      prepare: (ref) =>
        attendance.attend(async (signals) => {
          await holdings.hold(ref.runId)
          return withinDisk(deps, { ...ref, phase: 'setup' }, signals, async (bounded) => ({
            origin: await (headStart.join(ref, bounded) ?? prepareNow(ref, bounded)),
          }))
        }),
      runTurn: ({ turn, ...ref }) =>
        attendance.attend((signals) =>
          withinDisk(deps, { ...ref, phase: 'turn' }, signals, async (bounded) => {
            const execution = await openExecution(deps, ref, bounded)
            return deps.metrics.turn(execution.agent.name, outcomeName, () => carryOutTurn(execution, turn))
          }),
        ),
      checkpoint: (ref) => attendance.attend(async (signals) => checkpoint(await openExecution(deps, ref, signals))),
      settle: (input) =>
        attendance.attend(async (signals) => {
          await headStart.end(input.runId)
          await settle(deps, input, signals)
          if (input.sandbox === 'give_up') holdings.release(input.runId)
        }),
      dispose: ({ keepWorkspace, ...ref }) =>
        attendance.attend(async () => {
          await headStart.end(ref.runId)
          await deps.metrics.phase('dispose', () => dispose(deps, ref, keepWorkspace))
          holdings.release(ref.runId)
        }),
    },
  }
}

const outcomeName = ({ kind }: TurnOutcome) => kind

/** The server has the last word: it knows of a drain at once, and hears nobody but the host that holds a run. */
async function claim(
  deps: HostDeps,
  { runId, execution }: ExecutionRef,
  holdings: Holdings,
  headStart: HeadStart,
): Promise<SandboxPlace> {
  const context = Context.current()
  const signal = AbortSignal.any([context.cancellationSignal, AbortSignal.timeout(CLAIM_MS)])
  try {
    const outcome = await withTypedFailures(context.info.attempt, () => deps.server.claim(runId, execution, signal))
    if (outcome === 'claimed') {
      headStart.begin({ runId, execution })
      return { hostId: deps.hostId }
    }
  } catch (error) {
    holdings.putBack(runId)
    throw error
  }
  holdings.putBack(runId)
  deps.onDraining()
  throw ApplicationFailure.create({ type: 'HostDraining', message: 'This host takes no new run.' })
}
