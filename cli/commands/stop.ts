// `ambient stop`: ends a start that runs in another terminal, or in none.
import { loadConfig, typed } from '../../config.ts'
import { lockHolder } from '../../workers/start/lock.ts'
import { endProcess } from '../../workers/start/process-identity.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { createScreen } from '../screen.ts'

/** Everything is stopped in order within ten seconds; whoever needs longer has lost its way. */
const PATIENCE_MS = 60_000

export async function stop(): Promise<ExitCode> {
  const screen = createScreen()
  const { AMBIENT_DATA: data } = loadConfig()
  const holder = lockHolder(data)
  if (holder === null)
    throw usageError(
      `Nothing of Ambient runs on ${data}.`,
      `AMBIENT_DATA says which one is meant; ${typed} start starts it.`,
    )
  screen.write(`Stopping Ambient on ${data} (process ${holder.pid})…\n`)
  await endProcess(holder, 'SIGTERM', PATIENCE_MS)
  screen.write('Stopped. Agents at work go on; the next start takes them up again.\n')
  return exitCodes.succeeded
}
