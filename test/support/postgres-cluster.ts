// A real Postgres in a temporary directory, with a database that has all tables, to be copied.
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDatabase } from '../../store/database.ts'
import { migrate } from '../../store/migrate.ts'
import { freePort } from '../../workers/start/ports.ts'
import { postgresBinaries } from '../../workers/start/postgres-binaries.ts'
import { postgresUser } from '../../workers/start/postgres-user.ts'
import { createDatabases, TEMPLATE, type TestPostgres } from './postgres.ts'

export interface PostgresCluster {
  /** Of its databases, without their names. */
  url: string
  /** Kills the server in mid-work and starts it again on the same port and data. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** One of a test's own, which it may kill. */
export async function startOwnPostgres(): Promise<TestPostgres & Pick<PostgresCluster, 'restart'>> {
  const cluster = await startPostgresCluster()
  const databases = createDatabases(cluster.url)
  return {
    ...databases,
    restart: cluster.restart,
    async stop() {
      await databases.stop()
      await cluster.stop()
    },
  }
}

/** Also as root, where it runs as the user `postgres`. `given`: the programs of another version. */
export async function startPostgresCluster(given?: { postgres: string; initdb: string }): Promise<PostgresCluster> {
  const binaries = given ?? (await postgresBinaries())
  const directory = await mkdtemp(join(tmpdir(), 'ambient-pg-'))
  const user = postgresUser([binaries.postgres])
  if (user.ids) await chown(directory, user.ids.uid, user.ids.gid)
  const data = join(directory, 'data')
  const options: SpawnOptions = { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] }
  await succeed(
    user.spawn(
      binaries.initdb,
      ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync', '--no-locale'],
      options,
    ),
  )
  const port = await freePort()
  const url = `postgresql://postgres@127.0.0.1:${port}`
  let server = await startServer()

  const template = createDatabase(`${url}/${TEMPLATE}`)
  const empty = createDatabase(`${url}/postgres`)
  await empty.pool.query(`create database ${TEMPLATE}`)
  await empty.close()
  await migrate(template.db)
  await template.close()

  function startServer(): Promise<ChildProcess> {
    const settings = [
      'listen_addresses=127.0.0.1',
      `port=${port}`,
      'fsync=off',
      'full_page_writes=off',
      // Several files' at once, each with a few pools.
      'max_connections=200',
    ]
    const flags = [...settings, 'shared_buffers=64MB', `unix_socket_directories=${directory}`].flatMap((setting) => [
      '-c',
      setting,
    ])
    const child = user.spawn(binaries.postgres, ['-D', data, ...flags], options)
    return new Promise((resolve, reject) => {
      let said = ''
      child.stderr?.on('data', (chunk) => {
        said += chunk
        if (said.includes('ready to accept connections')) resolve(child)
      })
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`Postgres ended with ${code}: ${said}`)))
    })
  }

  return {
    url,
    async restart() {
      await end(server, 'SIGQUIT')
      server = await startServer()
    },
    async stop() {
      await end(server, 'SIGQUIT')
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function succeed(child: ChildProcess): Promise<void> {
  let said = ''
  child.stderr?.on('data', (chunk) => {
    said += chunk
  })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`initdb ended with ${code}: ${said}`)
}

/** SIGQUIT is Postgres's immediate shutdown: no checkpoint, as in a crash. */
function end(server: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (server.exitCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    server.once('exit', () => resolve())
    server.kill(signal)
  })
}
