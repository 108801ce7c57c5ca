// `npm run fuzz -- --seconds N --seed N`: the property-based test of the API, for as long as one likes.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { startOwnPostgres } from '../support/postgres-cluster.ts'
import { fuzz, startServerToFuzz } from './fuzz.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
  },
})
const options = { seconds: Number(values.seconds), seed: Number(values.seed) }
const say = (line: string) => process.stdout.write(`${line}\n`)

say(`seed ${options.seed}, ${options.seconds} s`)
const postgres = await startOwnPostgres()
const api = await startServerToFuzz({ databaseUrl: await postgres.databaseUrl() })
try {
  const { requests, answers } = await fuzz(api, options)
  for (const [answer, count] of [...answers].sort(([a], [b]) => (a < b ? -1 : 1)))
    say(`${String(count).padStart(6)}  ${answer}`)
  say(`${requests} requests, every answer as the document says`)
} catch (error) {
  say(error instanceof Error ? `${error.message}\n${String(error.cause)}` : String(error))
  process.exitCode = 1
} finally {
  await api.close()
  await postgres.stop()
}
