import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type RunningPostgres, startPostgres } from './postgres.ts'
import { postgresUser } from './postgres-user.ts'
import { identify, isRunning, type ProcessIdentity } from './process-identity.ts'

let root: string
let directory: string
let running: RunningPostgres[]
let said: string[]

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ambient-postgres-'))
  directory = join(root, 'postgres')
  running = []
  said = []
})

afterEach(async () => {
  await Promise.all(running.map((server) => server.stop()))
  rmSync(root, { recursive: true, force: true })
})

async function start(port = 0): Promise<RunningPostgres> {
  const server = await startPostgres({ directory, port, log: (line) => said.push(line) })
  running.push(server)
  return server
}

async function query<Row extends object>(url: string, sql: string): Promise<Row[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Row>(sql)).rows
  } finally {
    await client.end()
  }
}

const identityOf = (pid: number): ProcessIdentity => identify(pid) ?? expect.fail(`no process ${pid}`)

/** A process of its own that starts Postgres, for being killed. */
async function startInChild() {
  const script = fileURLToPath(new URL('fixtures/postgres-parent.ts', import.meta.url))
  const parent = spawn(process.execPath, [script, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(createInterface(parent.stdout), 'line')
  const { url, pid } = JSON.parse(line) as { url: string; pid: number }
  return { url, server: identityOf(pid), parent }
}

test('a fresh directory gives a server that keeps commits safe; a second start finds the data again', async () => {
  const first = await start()
  expect(said).toEqual(['creating the database cluster (once)'])
  await query(first.url, 'create table kept as select 42 as n')
  const safety = await query<{ name: string; setting: string }>(
    first.url,
    `select name, setting from pg_settings
     where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums', 'server_encoding') order by 1`,
  )
  expect(Object.fromEntries(safety.map(({ name, setting }) => [name, setting]))).toEqual({
    data_checksums: 'on',
    fsync: 'on',
    full_page_writes: 'on',
    server_encoding: 'UTF8',
    synchronous_commit: 'on',
  })
  await first.stop()
  await first.exited

  const second = await start()
  expect(await query(second.url, 'select n from kept')).toEqual([{ n: 42 }])
  expect(said).toHaveLength(1)
})

test('only the password opens it, and only its owner can read the password', async () => {
  const { url } = await start()
  expect(statSync(join(directory, 'password')).mode & 0o777).toBe(0o600)
  const wrong = new URL(url)
  wrong.password = 'wrong'
  await expect(query(wrong.href, 'select 1')).rejects.toThrow(/password authentication failed/)
})

test('it is reached by a socket that is its own alone, and over TCP where the path of one would be too long', async () => {
  const { url, port } = await start()
  const socket = join(directory, 'socket')
  expect(new URL(url).host).toBe(`${encodeURIComponent(socket)}:${port}`)
  expect(statSync(socket).mode & 0o777).toBe(0o700)
  const overTcp = new URL(url)
  overTcp.host = `127.0.0.1:${port}`
  expect(await query(overTcp.href, 'select inet_server_port() as port')).toEqual([{ port }])
  expect(await query(url, 'select inet_server_port() as port')).toEqual([{ port: null }])

  directory = join(root, 'a, "b')
  const odd = await start()
  expect(await query(odd.url, 'select inet_server_port() as port')).toEqual([{ port: null }])
  directory = join(root, 'long'.repeat(20))
  const long = await start()
  expect(new URL(long.url).host).toBe(`127.0.0.1:${long.port}`)
  expect(await query(long.url, 'select 1 as n')).toEqual([{ n: 1 }])
})

test.runIf(mayLend())(
  'below a directory of root alone, the server reads what it needs and can write nothing else',
  async () => {
    const closed = mkdtempSync(join(tmpdir(), 'ambient-closed-'))
    writeFileSync(join(closed, 'file'), 'of root', { mode: 0o600 })
    const user = postgresUser([closed])
    const code = async (...args: string[]) => (await once(user.spawn('/bin/sh', ['-c', ...args], {}), 'exit'))[0]
    try {
      expect(await code(`cat ${closed}/file`)).toBe(0)
      expect(await code(`echo x >${closed}/file`)).not.toBe(0)
    } finally {
      rmSync(closed, { recursive: true })
    }
  },
)

/** Root lends the right to pass directories, where it has that right itself. */
function mayLend(): boolean {
  if (process.getuid?.() !== 0) return false
  const bounding = /^CapBnd:\s*(\w+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  // CAP_DAC_READ_SEARCH is number 2.
  return (BigInt(`0x${bounding}`) & 4n) !== 0n
}

test('a server whose starter was killed is ended, and its commits are there', async () => {
  const { url, server, parent } = await startInChild()
  await query(url, 'create table kept as select 1 as n')
  parent.kill('SIGKILL')
  await once(parent, 'exit')
  expect(isRunning(server)).toBe(true)

  const next = await start()
  expect(isRunning(server)).toBe(false)
  expect(said.join()).toContain(`ending the Postgres of a former start (process ${server.pid})`)
  expect(await query(next.url, 'select n from kept')).toEqual([{ n: 1 }])
})

test('a server that was itself killed is recovered, even with clients connected', async () => {
  const first = await start()
  await query(first.url, 'create table kept as select 1 as n')
  const client = new Client({ connectionString: first.url })
  client.on('error', () => {}) // Its server is about to be killed.
  await client.connect()
  process.kill(first.pid, 'SIGKILL')
  await first.exited
  expect(existsSync(join(directory, 'cluster', 'postmaster.pid'))).toBe(true)
  expect(readdirSync(join(directory, 'socket'))).not.toEqual([])

  const next = await start()
  expect(await query(next.url, 'select n from kept')).toEqual([{ n: 1 }])
})

test('a stale pid file that names a process of someone else harms neither', async () => {
  await (await start()).stop()
  const bystander = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
  try {
    writeFileSync(join(directory, 'cluster', 'postmaster.pid'), `${bystander.pid}\n${directory}/cluster\n1\n5432\n\n\n`)
    const { url } = await start()
    expect(await query(url, 'select 1 as n')).toEqual([{ n: 1 }])
    expect(bystander.exitCode).toBeNull()
  } finally {
    bystander.kill()
  }
})

test('a port in use is named, with the setting that chooses another one', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  await expect(start(port)).rejects.toThrow(
    `Port ${port} of 127.0.0.1, meant for Postgres, is in use. Set AMBIENT_POSTGRES_PORT to a free one.`,
  )
  other.close()
})

test('a server that cannot start says why, from its log', async () => {
  await (await start()).stop()
  appendFileSync(join(directory, 'cluster', 'postgresql.conf'), '\nnonsense = 1\n')
  await expect(start()).rejects.toThrow(
    /Postgres ended while it was starting[\s\S]*unrecognized configuration parameter "nonsense"/,
  )
})

test('a cluster of another Postgres version is left alone', async () => {
  await (await start()).stop()
  const file = join(directory, 'cluster', 'PG_VERSION')
  const version = readFileSync(file, 'utf8')
  writeFileSync(file, '15\n')
  await expect(start()).rejects.toThrow(/was made by Postgres 15, this Ambient brings 18\. Dump it/)
  writeFileSync(file, version)
})
