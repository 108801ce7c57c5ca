// A process of its own: a Postgres whose URL it tells on stdout. It ends with its stdin, and so with whoever has started it.
import { once } from 'node:events'
import { startPostgresCluster } from './postgres-cluster.ts'

// Ctrl-C is for whoever has started it.
process.on('SIGINT', () => {})
const cluster = await startPostgresCluster()
process.stdout.write(`${cluster.url}\n`)
await once(process.stdin.resume(), 'end')
await cluster.stop()
