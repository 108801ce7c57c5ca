// The search attributes of runs: made known to the Temporal server, which refuses a workflow that has one it does not know.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import type { Logger } from 'pino'
import { searchAttributes } from '../workflows/search-attributes.ts'

export interface AttributeRegistration {
  /** Whether workflows can be started with them. Waits for the first answer, a moment at most. */
  ready(): Promise<boolean>
  /** The server has refused one all the same: ask again. */
  refused(): void
  close(): void
}

/** Longest wait of a run that is started while the first answer is still out. In milliseconds. */
const FIRST_MS = 2_000
const CALL_MS = 5_000
/** A server takes a new attribute into its cache within seconds. In milliseconds. */
const CACHED_MS = 250
/** How often a server that does not have them is asked again: an operator may have made them. In milliseconds. */
const AGAIN_MS = 30_000
/** As Temporal's API numbers the types. */
const TYPES = { KEYWORD: 2, INT: 3 } as const

export function registerSearchAttributes({ client, log }: { client: Client; log: Logger }): AttributeRegistration {
  const closing = new AbortController()
  const { signal } = closing
  let known = false
  let told = false
  const first = Promise.withResolvers<void>()

  async function attempt(): Promise<void> {
    const { namespace } = client.options
    const call = <T>(work: () => Promise<T>) => client.connection.withDeadline(Date.now() + CALL_MS, work)
    const missing = async () => {
      const { customAttributes } = await call(() =>
        client.connection.operatorService.listSearchAttributes({ namespace }),
      )
      return searchAttributes.filter(({ name }) => !(name in (customAttributes ?? {})))
    }
    const toMake = await missing()
    if (toMake.length > 0) {
      const types = Object.fromEntries(toMake.map(({ name, type }) => [name, TYPES[type]]))
      await call(() => client.connection.operatorService.addSearchAttributes({ namespace, searchAttributes: types }))
      log.info({ made: toMake.map(({ name }) => name) }, 'made the search attributes of runs')
    }
    // A query that names them all is understood once the server's caches have them.
    const query = searchAttributes.map(({ name }) => `${name} is not null`).join(' and ')
    for (let last: unknown = null; !signal.aborted; await sleep(CACHED_MS, undefined, { signal })) {
      try {
        await call(() => client.workflowService.countWorkflowExecutions({ namespace, query }))
        return
      } catch (error) {
        if (last !== null && Date.now() - Number(last) > AGAIN_MS) throw error
        last ??= Date.now()
      }
    }
  }

  async function keepTrying(): Promise<void> {
    while (!signal.aborted) {
      if (!known) {
        try {
          await attempt()
          known = true
        } catch (error) {
          if (!told && !signal.aborted) log.warn({ reason: String(error), command }, NOT_MADE)
          told = true
        }
        first.resolve()
      }
      await sleep(AGAIN_MS, undefined, { signal, ref: false }).catch(() => {}) // Closing: the loop's condition ends it.
    }
  }
  keepTrying().catch((error: unknown) => log.error({ err: error }, 'the registration of search attributes has ended'))

  return {
    async ready() {
      if (!known) await Promise.race([first.promise, sleep(FIRST_MS, undefined, { ref: false })])
      return known
    },
    refused() {
      known = false
    },
    close: () => closing.abort(),
  }
}

const NOT_MADE =
  'the search attributes of runs cannot be made; until an operator makes them by this command, runs are started without'

const words = { KEYWORD: 'Keyword', INT: 'Int' } as const

/** What an operator runs where this server may not. */
const command = `temporal operator search-attribute create ${searchAttributes
  .map(({ name, type }) => `--name ${name} --type ${words[type]}`)
  .join(' ')}`
