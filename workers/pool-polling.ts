// The worker of a pool's queue, which a host that drains does without.
import type { Worker } from '@temporalio/worker'
import type { Logger } from 'pino'

export interface PoolPolling {
  /** Asks for new runs from now on, or no longer. What was taken on before is finished. */
  set(polls: boolean): void
  /** Resolves when nothing of it runs any more. */
  stop(): Promise<void>
  /** Rejects when a worker fails. */
  failed: Promise<never>
}

export function createPoolPolling(create: () => Promise<Worker>, log: Pick<Logger, 'info'>): PoolPolling {
  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => {}) // Heard by whoever waits for it.
  let wanted = false
  let stopped = false
  let running: { worker: Worker; done: Promise<void> } | null = null
  // One change after the other: a queue has one worker of this process at a time.
  let changing: Promise<void> = Promise.resolve()

  async function settle(): Promise<void> {
    const polls = wanted && !stopped
    if (polls && running === null) {
      const worker = await create()
      const done = worker.run()
      done.catch(failure.reject)
      running = { worker, done }
    } else if (!polls && running !== null) {
      const { worker, done } = running
      if (worker.getState() === 'RUNNING') worker.shutdown()
      await done
      running = null
    }
  }

  const change = () => {
    changing = changing.then(settle)
    changing.catch(failure.reject)
  }

  return {
    set(polls) {
      if (polls === wanted) return
      wanted = polls
      log.info(polls ? 'asking for new runs' : 'draining: asking for no new run')
      change()
    },
    async stop() {
      stopped = true
      change()
      await changing
    },
    failed: failure.promise,
  }
}
