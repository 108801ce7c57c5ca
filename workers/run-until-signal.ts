// How a process of Temporal workers lives and ends.
import { DefaultLogger, Runtime, type Worker } from '@temporalio/worker'
import type { Logger } from 'pino'

/** Sends the SDK's own log lines through ours. To be called once, before the first worker is made. */
export function installRuntime(log: Logger): void {
  Runtime.install({
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      const line = { ...meta, sdkComponent: undefined }
      if (level === 'ERROR') log.error(line, message)
      else log.warn(line, message)
    }),
    // Signals are ours: a process has more to drain than its workers.
    shutdownSignals: [],
  })
}

/** Runs workers until SIGTERM or SIGINT, then lets them hand over what they have in hand. Throws when a worker fails. */
export async function runUntilSignal(workers: readonly Worker[], log: Logger): Promise<void> {
  const stop = () => {
    log.info('stopping')
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown()
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  try {
    await Promise.all(workers.map((worker) => worker.run()))
  } finally {
    process.removeListener('SIGTERM', stop)
    process.removeListener('SIGINT', stop)
  }
}
