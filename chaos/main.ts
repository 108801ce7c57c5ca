// `npm run chaos`: kills parts at random while runs are at work, and compares what everybody holds of them at the end.
import { z } from 'zod'
import { type ChaosOptions, readOptions, usage } from './options.ts'
import { line, told } from './report.ts'
import { runChaos } from './run.ts'

const options = optionsOrExit()
const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort())
const progress = (text: string) => void process.stderr.write(`${text}\n`)
const report = await runChaos(options, progress, stopping.signal).catch((error: unknown) => {
  if (!stopping.signal.aborted) throw error
  process.exit(130)
})
if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
else {
  for (const difference of report.differences) process.stdout.write(`${told(difference)}\n`)
  process.stdout.write(`${line(report)}\n`)
}
if (report.data !== null) process.stderr.write(`the data are kept in ${report.data}\n`)
process.exit(report.differences.length === 0 ? 0 : 1)

function optionsOrExit(): ChaosOptions {
  try {
    const given = readOptions(process.argv.slice(2))
    if (given !== null) return given
    process.stdout.write(`${usage}\n`)
    process.exit(0)
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error)
    process.stderr.write(`${why}\n${usage}\n`)
    process.exit(2)
  }
}
