// Timeouts and retries of every activity, each with its reason. Workflow sandbox: no Node imports.
import type { ActivityOptions } from '@temporalio/workflow'

/** Activities below fail with this type when the run cannot go on; the failure is the first detail. Never retried by the server. */
export const RUN_FAILURE = 'RunFailure'

/** Database work: short, safe to repeat, and tried for as long as the database is away. */
export const orchestratorOptions: ActivityOptions = {
  startToCloseTimeout: '30s',
  retry: { initialInterval: '200ms', backoffCoefficient: 2, maximumInterval: '10s' },
}

/**
 * Asking a pool for a host. Nobody may be there to answer for a while (a pool
 * may be scaled to zero), and every host may be full: the run waits in the
 * queue, which is where a cancel finds it.
 */
export const claimOptions: ActivityOptions = {
  startToCloseTimeout: '30s',
  retry: { initialInterval: '1s', backoffCoefficient: 1.5, maximumInterval: '15s' },
}

/** A host that does not take up its own work for this long is reported as unavailable. */
const HOST_AWAY = '10m'

/**
 * 30 s without a heartbeat and the host's worker counts as dead. A worker that
 * is started again hands its predecessor's activities back at once, so this is
 * only the net below that.
 */
const HEARTBEAT = '30s'

/** A worker that died is tried again at once: the sandbox is still there, and the new attempt reads on. */
const onSameHost = { initialInterval: '200ms', backoffCoefficient: 2, maximumInterval: '10s' }

/**
 * A cancelled activity has ended before anything else is done to its sandbox.
 * The SDK's own default reports the cancel at once, whatever still goes on.
 */
const cancellationType = 'WAIT_CANCELLATION_COMPLETED'

/** Clone, set-up commands and the agent's start: an hour bounds all of them together. */
export const prepareOptions: ActivityOptions = {
  cancellationType,
  startToCloseTimeout: '60m',
  scheduleToStartTimeout: HOST_AWAY,
  heartbeatTimeout: HEARTBEAT,
  retry: { ...onSameHost, maximumAttempts: 20 },
}

/** One turn. Its attempts are unlimited within its time: an attempt that follows a dead worker repeats nothing. */
export const turnOptions = (turnMinutes: number): ActivityOptions => ({
  cancellationType,
  startToCloseTimeout: `${turnMinutes}m`,
  scheduleToCloseTimeout: `${turnMinutes}m`,
  scheduleToStartTimeout: HOST_AWAY,
  heartbeatTimeout: HEARTBEAT,
  retry: onSameHost,
})

/** Reading the diff of a large repository takes a while. */
export const collectOptions: ActivityOptions = {
  startToCloseTimeout: '10m',
  scheduleToStartTimeout: HOST_AWAY,
  heartbeatTimeout: HEARTBEAT,
  retry: { ...onSameHost, maximumAttempts: 5 },
}

/** Ending processes takes seconds; removing a big workspace can take minutes. */
export const disposeOptions: ActivityOptions = {
  startToCloseTimeout: '5m',
  scheduleToStartTimeout: HOST_AWAY,
  heartbeatTimeout: HEARTBEAT,
  retry: { ...onSameHost, maximumAttempts: 20 },
}
