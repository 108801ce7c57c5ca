// `npm start`: brings up everything on this machine, says where it is, and stops it in order.
import { loadConfig, unknownSettings, version } from '../../config.ts'
import { greeting, troubleWithVault } from './greeting.ts'
import { stopSignal } from './stop-signal.ts'
import { createSupervisor } from './supervisor.ts'

export async function main(): Promise<void> {
  const config = loadConfig()
  const stop = stopSignal()
  const began = Date.now()
  const write = (line: string) => process.stdout.write(`${line}\n`)
  write(`Ambient ${version}, data in ${config.AMBIENT_DATA}`)
  for (const { name, meant } of unknownSettings())
    write(`  Settings: ${name} is none and has no effect.${meant === null ? '' : ` Is ${meant} meant?`}`)
  const supervisor = createSupervisor(config, (about, line) => write(`  ${about}: ${line}`))

  const stopping = new AbortController()
  const stopped = stop.received.then(() => {
    stopping.abort()
    return null
  })
  // A mistake of ours must not leave everything running with nobody to look after it.
  const broken = Promise.withResolvers<never>()
  process.once('uncaughtException', broken.reject)
  let exitCode = 0
  try {
    const started = await Promise.race([supervisor.start(stopping.signal), stopped, broken.promise])
    if (started) {
      write(greeting(started, Date.now() - began))
      const over = Promise.race([started.failed, stopped, broken.promise])
      const trouble = await Promise.race([troubleWithVault(started.config), over])
      if (trouble !== null) write(trouble)
      await over
    }
  } catch (error) {
    exitCode = 1
    stopping.abort()
    process.stderr.write(`\nAmbient cannot run: ${error instanceof Error ? error.message : error}\n`)
  }

  stop.again(() => {
    process.stderr.write('Stopped at once; the next start cleans up.\n')
    process.exit(1)
  })
  if (exitCode === 0) write('Stopping. Agents at work go on; the next start takes them up again.')
  await supervisor.stop()
  stop.release()
  process.exit(exitCode)
}
