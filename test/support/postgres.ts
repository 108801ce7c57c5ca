// A real Postgres for tests: one cluster per test file, a migrated database of its own for each that asks.
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { createDatabase, type Database } from '../../store/database.ts'
import { migrate } from '../../store/migrate.ts'
import { freePort } from '../../workers/start/ports.ts'
import { postgresBinaries } from '../../workers/start/postgres-binaries.ts'
import { postgresUser } from '../../workers/start/postgres-user.ts'

const TEMPLATE = 'migrated'

export interface TestPostgres {
  /** The URL of a new database with all tables, and nobody else in it. */
  databaseUrl(): Promise<string>
  /** The same, opened. Closed with the cluster. */
  database(): Promise<Database>
  /** Kills the server in mid-work and starts it again on the same port and data. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** Starts a cluster in a temporary directory; also as root, where it runs as the user `postgres`. */
export async function startTestPostgres(): Promise<TestPostgres> {
  const binaries = await postgresBinaries()
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
  let server = await startServer()
  const url = (name: string) => `postgresql://postgres@127.0.0.1:${port}/${name}`
  const opened: Database[] = []
  let count = 0

  await administer(`create database ${TEMPLATE}`)
  const template = createDatabase(url(TEMPLATE))
  await migrate(template.db)
  await template.close()

  function startServer(): Promise<ChildProcess> {
    const settings = [
      'listen_addresses=127.0.0.1',
      `port=${port}`,
      'fsync=off',
      'full_page_writes=off',
      'max_connections=60',
    ]
    const flags = [...settings, 'shared_buffers=32MB', `unix_socket_directories=${directory}`].flatMap((setting) => [
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

  async function administer(statement: string): Promise<void> {
    const client = new Client({ connectionString: url('postgres') })
    await client.connect()
    await client.query(statement)
    await client.end()
  }

  async function databaseUrl(): Promise<string> {
    const name = `test_${++count}`
    await administer(`create database ${name} template ${TEMPLATE}`)
    return url(name)
  }

  return {
    databaseUrl,
    async database() {
      const database = createDatabase(await databaseUrl())
      opened.push(database)
      return database
    },
    async restart() {
      await end(server, 'SIGQUIT')
      server = await startServer()
    },
    async stop() {
      await Promise.all(opened.map((database) => database.close()))
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
