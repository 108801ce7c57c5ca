// Timeouts and retries of every activity, each with its reason. Workflow sandbox: no Node imports.
import type { ActivityOptions, LocalActivityOptions } from '@temporalio/workflow'

/** Activities below fail with this type when the run cannot go on; the failure is the first detail. Never retried by the server. */
export const RUN_FAILURE = 'RunFailure'

/**
 * Database work: short, safe to repeat, and tried for as long as the database is
 * away. Done by the worker that has the workflow, without a round over the
 * server for each; while the database is away the pauses become timers, and grow
 * so that a long absence does not fill the history.
 */
export const orchestratorOptions: LocalActivityOptions = {
  startToCloseTimeout: '30s',
  localRetryThreshold: '5s',
  retry: { initialInterval: '200ms', backoffCoefficient: 2, maximumInterval: '60s' },
}

/**
 * Asking a pool for a host. The run has been let in, so there is room; but hosts
 * may be gone since, or hold what the database does not know of. It is asked
 * again with growing pauses, and a cancel finds it here.
 */
export const claimOptions: ActivityOptions = {
  startToCloseTimeout: '10s',
  // A host that has taken the run has begun with it: a cancel has to know which one.
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '1s', backoffCoefficient: 1.5, maximumInterval: '15s' },
}

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

/** A host that does not take up its work within this time is lost. */
const takenUpWithin = (seconds: number) => ({ scheduleToStartTimeout: `${seconds}s` }) as const

/**
 * Clone, set-up commands and the agent's start: an hour bounds all of them
 * together, beside the wait for the host. Over all attempts, or a set-up that
 * hangs would hold its host for a day.
 */
export const prepareOptions = (hostLostSeconds: number): ActivityOptions => ({
  ...takenUpWithin(hostLostSeconds),
  cancellationType,
  startToCloseTimeout: '60m',
  scheduleToCloseTimeout: `${3_600 + hostLostSeconds}s`,
  heartbeatTimeout: HEARTBEAT,
  retry: { ...onSameHost, maximumAttempts: 20 },
})

/** One turn. An attempt that follows a dead worker repeats nothing, so only time limits them. */
export const turnOptions = (hostLostSeconds: number, limitMs: number): ActivityOptions => ({
  ...takenUpWithin(hostLostSeconds),
  cancellationType,
  startToCloseTimeout: limitMs,
  scheduleToCloseTimeout: limitMs,
  heartbeatTimeout: HEARTBEAT,
  retry: onSameHost,
})

/** Between two turns. One that cannot be made costs a turn's work if the host is lost, and holds nobody up for long. */
export const checkpointOptions = (hostLostSeconds: number): ActivityOptions => ({
  ...takenUpWithin(hostLostSeconds),
  startToCloseTimeout: '5m',
  heartbeatTimeout: HEARTBEAT,
  retry: { ...onSameHost, maximumAttempts: 3 },
})

/**
 * The end of an execution. Ending processes takes seconds, reading the diff of a
 * large repository or removing a big workspace can take minutes.
 */
export const settleOptions = (hostLostSeconds: number): ActivityOptions => ({
  ...takenUpWithin(hostLostSeconds),
  startToCloseTimeout: '15m',
  heartbeatTimeout: HEARTBEAT,
  retry: { ...onSameHost, maximumAttempts: 10 },
})

/**
 * Clone and set-up of an environment ahead of its runs. Nobody waits at a
 * terminal, so it may take twice as long as a run's; over all attempts, or a
 * set-up that hangs would be begun again for a day.
 */
export const buildOptions = (hostLostSeconds: number): ActivityOptions => ({
  ...takenUpWithin(hostLostSeconds),
  cancellationType,
  startToCloseTimeout: '120m',
  scheduleToCloseTimeout: '120m',
  heartbeatTimeout: HEARTBEAT,
  retry: { ...onSameHost, maximumAttempts: 20 },
})

/** A fetch of a few repositories. Nobody waits for long: what is known of them before goes on to hold. */
export const skillOptions = (hostLostSeconds: number): ActivityOptions => ({
  ...takenUpWithin(hostLostSeconds),
  cancellationType,
  startToCloseTimeout: '20m',
  scheduleToCloseTimeout: '25m',
  heartbeatTimeout: HEARTBEAT,
  retry: { ...onSameHost, maximumAttempts: 5 },
})

/** As a run ends: its terminal state waits for no more than a minute. What is left goes on in a workflow of its own. */
export const firstPullRequestOptions: ActivityOptions = {
  startToCloseTimeout: '30s',
  scheduleToCloseTimeout: '60s',
  retry: { initialInterval: '1s', backoffCoefficient: 2 },
}

/** A few requests to a forge, each of which has its own limit. What a forge refuses is an outcome; the rest is tried again. */
export const pullRequestOptions: ActivityOptions = {
  startToCloseTimeout: '3m',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '60s' },
}
