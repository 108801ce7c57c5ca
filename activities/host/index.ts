// Runs on the worker that holds the sandbox. The activities of a host, each with heartbeats and typed failures around it.
import { ApplicationFailure } from '@temporalio/common'
import type { HostActivities, PoolActivities } from '../../workflows/contract.ts'
import type { Attendance } from './attended.ts'
import { collect } from './collect.ts'
import type { HostDeps } from './deps.ts'
import { dispose } from './dispose.ts'
import { openExecution } from './execution.ts'
import type { Holdings } from './holdings.ts'
import { prepare } from './prepare.ts'
import { carryOutTurn } from './turn.ts'

export function makeHostActivities(
  deps: HostDeps,
  attendance: Attendance,
  holdings: Holdings,
): { pool: PoolActivities; host: HostActivities } {
  return {
    pool: {
      async claim({ runId }) {
        if (await holdings.take(runId)) return { hostId: deps.hostId }
        throw ApplicationFailure.create({
          type: 'HostFull',
          message: `This host holds ${deps.capacity} runs already.`,
          nextRetryDelay: '2s',
        })
      },
    },
    host: {
      prepare: (ref) =>
        attendance.attend(async (signals) => {
          await holdings.hold(ref.runId)
          return { origin: await prepare(await openExecution(deps, ref, signals)) }
        }),
      runTurn: ({ turn, ...ref }) =>
        attendance.attend(async (signals) => carryOutTurn(await openExecution(deps, ref, signals), turn)),
      stop: (ref) => attendance.attend(() => deps.host.stop(ref.runId)),
      collect: (ref) => attendance.attend(async (signals) => collect(await openExecution(deps, ref, signals))),
      dispose: ({ keepWorkspace, ...ref }) =>
        attendance.attend(async () => {
          await dispose(deps, ref, keepWorkspace)
          holdings.release(ref.runId)
        }),
    },
  }
}
