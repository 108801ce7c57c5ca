// What docs/operations.md says of a backup without a stop: pg_dump, and pg_restore into a database elsewhere.
import { existsSync, globSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { createDatabases } from '../test/support/postgres.ts'
import { type PostgresCluster, startPostgresCluster } from '../test/support/postgres-cluster.ts'
import { appendEvents } from './runs/events.ts'
import { recordState } from './runs/states.ts'

/** A pg_dump reads no server that is newer: it is tried on the one that it came with. */
const programs = [...(process.env.PATH ?? '').split(':'), ...globSync('/usr/lib/postgresql/*/bin')]
  .filter((directory) =>
    ['pg_dump', 'pg_restore', 'postgres', 'initdb'].every((name) => existsSync(join(directory, name))),
  )
  .at(-1)

let cluster: PostgresCluster
let api: TestApi
const dump = join(tmpdir(), `ambient-${process.pid}.dump`)

beforeAll(async () => {
  if (programs === undefined) return
  cluster = await startPostgresCluster({ postgres: join(programs, 'postgres'), initdb: join(programs, 'initdb') })
})
afterAll(async () => {
  await api?.close()
  await cluster?.stop()
  await rm(dump, { force: true })
})

test.skipIf(programs === undefined)(
  'a dump that is restored elsewhere has every run, transcript, key and entry of the audit log',
  async () => {
    const databases = createDatabases(cluster.url)
    const databaseUrl = await databases.databaseUrl()
    api = await startTestApi({ databaseUrl })
    const { run_id: id } = (await api.call('POST', '/agent/runs', { prompt: 'Rotate the certificates' })).body
    const events = ['One', 'Two'].map((text, index) => ({
      ...{ line: index + 1, part: 0, time: '2026-05-01T10:00:00.000Z', kind: 'message' as const, data: { text } },
    }))
    await appendEvents(api.db, { runId: id, execution: 1, journal: 'agent-1', events, readTo: 2 })
    await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', id).execute()
    await recordState(api.db, { runId: id, execution: 1, key: 'end', state: 'SUCCEEDED' })
    await api.call('POST', '/agent/teams/default/members', { email: 'sam@example.com' })
    const { key } = (await api.call('POST', '/agent/api-keys', { name: 'k', person: 'sam@example.com' })).body
    await api.call('POST', '/agent/environments', { name: 'web', repos: [], prepare: false })
    await api.call('POST', '/agent/schedules', { name: 'daily', cron_schedule: '0 9 * * *', prompt: 'Look' })
    const seen = async () =>
      Promise.all(
        [
          ...[
            `/agent/runs/${id}`,
            `/agent/runs/${id}/events`,
            `/agent/runs/${id}/timeline`,
            '/agent/runs?q=certificate',
          ],
          ...['/agent/environments', '/agent/audit-log', '/agent/schedules', '/agent/audit-log/verify'],
        ].map(async (path) => ({ path, body: (await api.call('GET', path)).body })),
      )
    const before = await seen()

    // While the server is at work.
    const bin = (name: string) => join(programs ?? '', name)
    await execa(bin('pg_dump'), ['--format', 'custom', '--file', dump, '--dbname', databaseUrl])
    await api.close()
    const elsewhere = `${dirname(databaseUrl)}/elsewhere`
    await execa(bin('psql'), ['--dbname', databaseUrl, '--command', 'create database elsewhere'])
    await execa(bin('pg_restore'), ['--clean', '--if-exists', '--exit-on-error', '--dbname', elsewhere, dump])
    await execa(bin('psql'), [
      '--dbname',
      elsewhere,
      '--command',
      `drop database ${databaseUrl.split('/').at(-1)} with (force)`,
    ])

    api = await startTestApi({ databaseUrl: elsewhere })
    expect(await seen()).toEqual(before)
    expect(before.at(-1)?.body).toMatchObject({ intact: true, head: { position: expect.any(Number) } })
    expect((await api.call('GET', '/agent/me', undefined, { authorization: `Bearer ${key}` })).status).toBe(200)
    // And it goes on: what comes next has its number, and its place in the log.
    const again = await api.call('POST', `/agent/runs/${id}/followups`, { message: 'Three' })
    expect(again.status).toBe(200)
    expect((await api.call('GET', '/agent/audit-log/verify')).body.intact).toBe(true)
  },
)
