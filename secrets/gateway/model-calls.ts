// The books of the gateway: each call is written down before it goes out, and settled once, whatever happens to this process.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { CallCost, CallRefusal, ModelCallStart, TokenUsage } from '../../domain/models/call.ts'
import { type CatalogueModel, findModel } from '../../domain/models/models.ts'
import { priceOf } from '../../domain/models/prices.ts'
import type { ModelRules } from '../../domain/models/rules.ts'
import { isAllowed } from '../../domain/models/rules.ts'
import type { Db } from '../../store/database.ts'
import {
  breakAbandonedCall,
  type ChargeCall,
  noteUsage,
  openCall,
  settleCall,
  touchCalls,
} from '../../store/models/calls.ts'
import type { CredentialHolder } from './credential.ts'
import type { GatewayHooks } from './gateway.ts'
import { reckonUsage } from './usage/reader.ts'

/** Null: the run may spend what the call costs. */
export type AdmitCall = (holder: CredentialHolder, call: ModelCallStart) => Promise<CallRefusal | null>

/** How often open calls are shown to be alive, and what is known of them is written down. */
const TOUCH_MS = 10_000
/** A call that nobody has touched for so long is one of a gateway that has died. */
const SILENT_MS = 60_000
/** Answers wait so long for a database that is away: it may be started again meanwhile. Agents wait longer. */
const SETTLE_PATIENCE_MS = 30_000
const ADMIT_PATIENCE_MS = 10_000
const PAUSE_MS = 250

export interface ModelCalls extends GatewayHooks {
  /** Settles what gateways that died have left open, and what could not be settled here. Also done regularly. @returns how many of others. */
  sweep(): Promise<number>
  close(): void
}

export function createModelCalls(options: {
  db: Db
  models: readonly CatalogueModel[]
  rules: (team: string) => Promise<ModelRules>
  admit: AdmitCall
  charge: ChargeCall
  log: Pick<Logger, 'warn'>
  silentMs?: number
}): ModelCalls {
  const { db, models, charge, log } = options
  const gateway = randomUUID()
  const going = new Map<string, () => TokenUsage>()
  /** Calls that have ended while the database was away. They are this gateway's, so that nobody else gives them up. */
  const unsettled = new Map<string, () => Promise<boolean>>()

  const warn = (message: string) => (error: unknown) => log.warn({ err: error }, message)

  const costOf = (call: { model: string | null }, usage: TokenUsage | null): CallCost | null =>
    usage === null || call.model === null ? null : priceOf(findModel(models, call.model), usage)

  async function touch(): Promise<void> {
    await touchCalls(db, gateway)
    for (const [id, usage] of going) await noteUsage(db, id, usage())
  }

  async function sweep(): Promise<number> {
    for (const [id, settle] of unsettled)
      await settle().then(() => unsettled.delete(id), warn('a model call that has ended could not be settled'))
    const reckon = ({ model, request_bytes: requestBytes, usage: told }: Parameters<typeof reckonBroken>[0]) => {
      const usage = reckonBroken({ model, request_bytes: requestBytes, usage: told })
      return { usage, cost: costOf({ model }, usage) }
    }
    for (let broken = 0; ; broken++) {
      if (!(await breakAbandonedCall(db, options.silentMs ?? SILENT_MS, reckon, charge))) return broken
    }
  }

  const timer = setInterval(() => {
    touch().then(sweep).catch(warn('open model calls could not be looked after'))
  }, TOUCH_MS)
  timer.unref()

  return {
    async admit(holder, call) {
      if (!isAllowed(await options.rules(holder.team), call.model)) {
        const which = call.model === null ? 'A call that names no model' : `The model ${call.model}`
        return { kind: 'not_allowed', reason: 'rules', message: `${which} is not allowed by the rules of this team.` }
      }
      return await patiently(ADMIT_PATIENCE_MS, async () => {
        const refusal = await options.admit(holder, call)
        if (refusal === null) await openCall(db, { ...holder, gateway }, call)
        return refusal
      })
    },

    begun(call, usage) {
      going.set(call.id, usage)
      noteUsage(db, call.id, usage()).catch(warn('what is known of a model call could not be written down'))
    },

    async settle(_holder, call, end) {
      const cost = call.free && end.usage !== null ? free : costOf(call, end.usage)
      const settle = () => settleCall(db, call.id, end, cost, charge)
      try {
        const isFirst = await patiently(SETTLE_PATIENCE_MS, settle)
        if (!isFirst) log.warn({ call: call.id }, 'a model call had been given up as broken before it ended')
      } catch (error) {
        unsettled.set(call.id, settle)
        throw error
      } finally {
        going.delete(call.id)
      }
    },

    sweep,
    close: () => clearInterval(timer),
  }
}

const free: CallCost = { input: 0, cacheRead: 0, cacheWrite: 0, output: 0 }

/** What was known when its gateway died; its prompt by the bytes of the request where nothing was. */
const reckonBroken = (call: {
  model: string | null
  request_bytes: number | null
  usage: TokenUsage | null
}): TokenUsage => reckonUsage(call.usage, call.request_bytes, 0)

async function patiently<T>(forMs: number, work: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + forMs; ; ) {
    try {
      return await work()
    } catch (error) {
      if (Date.now() > deadline) throw error
    }
    await sleep(PAUSE_MS)
  }
}
