// Runs on the worker that holds the sandbox. The activities of a host, each with heartbeats and typed failures around it.
import { Context } from '@temporalio/activity'
import { ApplicationFailure } from '@temporalio/common'
import type {
  BuildActivities,
  Claimed,
  ExecutionRef,
  HostActivities,
  PoolActivities,
  SkillActivities,
  TurnOutcome,
} from '../../workflows/contract.ts'
import { withTypedFailures } from '../failures.ts'
import type { Attendance, StopSignals } from './attended.ts'
import { buildEnvironment, createBuilds } from './build.ts'
import { checkpoint } from './checkpoint.ts'
import type { HostDeps } from './deps.ts'
import { checkpointBeforeEnd, dispose } from './dispose.ts'
import { openExecution } from './execution.ts'
import { createHeadStart, type HeadStart } from './head-start.ts'
import type { Holdings } from './holdings.ts'
import { withinLimits } from './limits.ts'
import { prepare } from './prepare.ts'
import { readSkillsOf } from './read-skills.ts'
import { tellSetback } from './setbacks.ts'
import { settle } from './settle.ts'
import { carryOutTurn, readMessages } from './turn.ts'

/** The claim's answer, and what is waited for after it: together below the activity's own time. In milliseconds. */
const CLAIM_MS = 7_000
/** Without repositories and set-up commands, an agent's process runs within this time; people who cancel wait for it. */
const READY_MS = 1_000

export function makeHostActivities(
  deps: HostDeps,
  attendance: Attendance,
  holdings: Holdings,
): { pool: PoolActivities; host: HostActivities & BuildActivities & SkillActivities } {
  const headStart = createHeadStart(
    (ref, signals, onNearly) =>
      withinLimits(deps, { ...ref, phase: 'setup' }, signals, (execution) => prepare(execution, onNearly)),
    {
      // Its files stay for the sweep, which asks whose they are.
      forsake: (runId, since) => holdings.stop(runId, since),
      log: deps.log,
    },
  )
  const builds = createBuilds()
  return {
    pool: {
      claim: (ref) =>
        attendance.attendAnyOf(async (signals) => {
          if (await holdings.take(ref.runId)) return await claim(deps, ref, signals, holdings, headStart)
          // Rare: a run is let in only where the database knows of room. The pauses between tries grow.
          throw ApplicationFailure.create({
            type: 'HostFull',
            message: `This host holds ${deps.capacity} runs already.`,
          })
        }),
    },
    host: {
      prepare: (ref) =>
        attendance.attend(
          async (signals) => {
            await holdings.hold(ref.runId)
            return { origin: await headStart.join(ref, signals) }
          },
          tellSetback(deps, ref, 'prepare'),
        ),
      runTurn: ({ turn, ...ref }) =>
        attendance.attend(
          async (signals) => {
            await holdings.hold(ref.runId)
            // Read while the agent starts.
            const said = readMessages(deps, ref.runId, turn, signals)
            said.catch(() => {}) // Heard in the turn.
            await headStart.finish(ref, signals)
            return withinLimits(deps, { ...ref, phase: 'turn' }, signals, (execution) =>
              deps.metrics.turn(execution.agent.name, outcomeName, () => carryOutTurn(execution, turn, said)),
            )
          },
          tellSetback(deps, ref, 'turn'),
        ),
      checkpoint: (ref) =>
        attendance.attend(async (signals) => void (await checkpoint(await openExecution(deps, ref, signals)))),
      settle: (input) =>
        attendance.attend(async (signals) => {
          await headStart.end(input.runId)
          await settle(deps, input, signals)
          if (input.sandbox === 'give_up') holdings.release(input.runId)
        }),
      dispose: ({ keepWorkspace, ...ref }) =>
        attendance.attend(async (signals) => {
          await headStart.end(ref.runId)
          if (keepWorkspace) await checkpointBeforeEnd(deps, ref, signals)
          await deps.metrics.phase('dispose', () => dispose(deps, ref, keepWorkspace))
          holdings.release(ref.runId)
        }),
      buildEnvironment: ({ buildId }) =>
        attendance.attend(async (signals) => {
          await holdings.countOut(buildId)
          return await buildEnvironment(deps, buildId, signals, builds)
        }),
      readSkills: ({ readingId }) => attendance.attend((signals) => readSkillsOf(deps, readingId, signals)),
    },
  }
}

const outcomeName = ({ kind }: TurnOutcome) => kind

/** The server has the last word: it knows of a drain at once, and hears nobody but the host that holds a run. */
async function claim(
  deps: HostDeps,
  { runId, execution }: ExecutionRef,
  signals: StopSignals,
  holdings: Holdings,
  headStart: HeadStart,
): Promise<Claimed> {
  const signal = AbortSignal.any([signals.interrupt, signals.detach, AbortSignal.timeout(CLAIM_MS)])
  try {
    const { attempt } = Context.current().info
    const asked = () => deps.server.claim(runId, execution, signal)
    if ((await withTypedFailures(attempt, asked)).outcome === 'claimed') {
      return { hostId: deps.hostId, origin: await headStart.begin({ runId, execution }, READY_MS) }
    }
  } catch (error) {
    holdings.putBack(runId)
    throw error
  }
  holdings.putBack(runId)
  deps.onDraining()
  throw ApplicationFailure.create({ type: 'HostDraining', message: 'This host takes no new run.' })
}
