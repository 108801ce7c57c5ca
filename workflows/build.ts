// One build of a stored environment on one host. Workflow sandbox: no Node imports, no clock but Date.now(), no I/O.
import {
  ActivityFailure,
  CancellationScope,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  TimeoutFailure,
} from '@temporalio/workflow'
import type { RunFailure } from '../domain/failure.ts'
import {
  type BuildActivities,
  type BuildEnd,
  type BuildRecords,
  type EnvironmentBuildInput,
  hostQueue,
} from './contract.ts'
import { failureOfError, isHostAway, isStopped } from './ending.ts'
import { buildOptions, orchestratorOptions } from './options.ts'

const { recordBuild } = proxyLocalActivities<BuildRecords>(orchestratorOptions)

/** However it goes, the build has one end, and that is recorded. */
export async function environmentBuild({ buildId, hostId, hostLostSeconds }: EnvironmentBuildInput): Promise<void> {
  setCurrentDetails(`Building on ${hostId}`)
  const host = proxyActivities<BuildActivities>({
    ...buildOptions(hostLostSeconds),
    taskQueue: hostQueue(hostId),
    summary: 'build',
  })
  let end: BuildEnd
  try {
    end = await host.buildEnvironment({ buildId })
  } catch (error) {
    end = isStopped(error) ? { kind: 'cancelled' } : { kind: 'failed', failure: failureOf(error) }
  }
  setCurrentDetails(end.kind)
  await CancellationScope.nonCancellable(() => recordBuild({ buildId, end }))
}

function failureOf(error: unknown): RunFailure {
  if (isHostAway(error)) {
    return {
      code: 'host_unavailable',
      phase: 'setup',
      message: 'The host that was to build the environment does not answer.',
      nextStep: 'Start the host again and build once more, or build on another one.',
    }
  }
  if (error instanceof ActivityFailure && error.cause instanceof TimeoutFailure) {
    return error.cause.timeoutType === 'HEARTBEAT'
      ? {
          code: 'host_unavailable',
          phase: 'setup',
          message: 'The host was lost again and again while it built the environment.',
          nextStep: 'Look at the log of the host, and build once more.',
        }
      : {
          code: 'timed_out',
          phase: 'setup',
          message: 'The build took longer than it may.',
          nextStep: 'Have the set-up do less.',
        }
  }
  return failureOfError(error, 'setup', 'Its details are in the Temporal history of the build.')
}
