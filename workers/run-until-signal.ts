// How a process of Temporal workers lives and ends.
import { DefaultLogger, Runtime, type Worker } from '@temporalio/worker'
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { freePort } from './start/ports.ts'
import { stopSignal } from './start/stop-signal.ts'

/**
 * Sends the SDK's own log lines through ours, and has it count what it does
 * where metrics are served. To be called once, before the first worker is made.
 * Returns how what it counts is read.
 */
export async function installRuntime(
  log: Logger,
  config: Pick<Config, 'AMBIENT_METRICS_PORT'>,
): Promise<(() => Promise<string>) | undefined> {
  // The SDK has no other way out for its metrics than a port of its own.
  const bindAddress = config.AMBIENT_METRICS_PORT === 0 ? null : `127.0.0.1:${await freePort()}`
  const names = { countersTotalSuffix: true, unitSuffix: true, useSecondsForDurations: true }
  Runtime.install({
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      const line = { ...meta, sdkComponent: undefined }
      if (level === 'ERROR') log.error(line, message)
      else log.warn(line, message)
    }),
    // Signals are ours: a process has more to drain than its workers.
    shutdownSignals: [],
    ...(bindAddress === null ? {} : { telemetryOptions: { metrics: { prometheus: { bindAddress, ...names } } } }),
  })
  if (bindAddress === null) return undefined
  return async () => (await fetch(`http://${bindAddress}/metrics`)).text()
}

/**
 * Runs workers until SIGTERM or SIGINT, then lets them hand over what they have
 * in hand; `alongside` is stopped with them. A further signal, a second or more
 * later, ends the process at once. Throws when a worker fails.
 */
export async function runUntilSignal(
  workers: readonly Worker[],
  log: Logger,
  alongside: () => Promise<void> = async () => {},
): Promise<void> {
  const signal = stopSignal()
  let stopped: Promise<void> = Promise.resolve()
  void signal.received.then((name) => {
    log.info({ signal: name }, 'stopping')
    signal.again(() => process.exit(1))
    stopped = alongside()
    stopped.catch(() => {}) // Heard below.
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown()
  })
  try {
    await Promise.all(workers.map((worker) => worker.run()))
    await stopped
  } finally {
    signal.release()
  }
}
