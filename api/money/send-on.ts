// Runs that had been paused for want of money go on.
import type { Logger } from 'pino'
import { type Config, moneyRules } from '../../config.ts'
import type { Db } from '../../store/database.ts'
import { chargeSandboxes } from '../../store/money/compute.ts'
import { resumeStopped } from '../../store/money/stops.ts'
import { tellAlerts } from '../../store/money/tell.ts'
import type { Dispatcher } from '../dispatcher.ts'
import { regularly } from '../regularly.ts'

interface Sending {
  db: Db
  config: Config
  dispatcher: Pick<Dispatcher, 'nudge'>
}

/** Those of a team, or of all teams. */
async function sendOn({ db, config, dispatcher }: Sending, team?: string): Promise<void> {
  for (const runId of await resumeStopped(db, moneyRules(config), team)) dispatcher.nudge(runId)
}

/** After a raise or a grant, which stands whatever becomes of this: what is left undone here, {@link attendMoney} does. */
export async function sendOnNow(deps: Sending & { log: Logger }, team: string): Promise<void> {
  await sendOn(deps, team).catch((error: unknown) =>
    deps.log.warn({ reason: String(error) }, 'paused runs go on a little later'),
  )
}

/** How often sandboxes are looked for that are to be charged, in milliseconds. */
const COMPUTE_MS = 10_000
/** People who watch a run hear of an alert this soon, in milliseconds. */
const ALERTS_MS = 2_000
/** A new month begins for paused runs this soon, in milliseconds. */
const RESUME_MS = 15_000

/** Begins at once; returns how to stop it. */
export function attendMoney(deps: Sending & { log: Logger }): () => void {
  const { db, config, log } = deps
  const charge = async () => {
    await chargeSandboxes(db, moneyRules(config))
  }
  const tell = async () => {
    await tellAlerts(db)
  }
  return regularly(log, [
    { work: charge, everyMs: COMPUTE_MS, what: 'the charge for sandboxes' },
    { work: tell, everyMs: ALERTS_MS, what: 'the telling of reached budgets' },
    { work: () => sendOn(deps), everyMs: RESUME_MS, what: 'the look for paused runs that may go on' },
  ])
}
