import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Request, Response } from 'express'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NewEvent, RunEvent } from '../../domain/event.ts'
import { createDatabase } from '../../store/database.ts'
import { createEventListener } from '../../store/listener.ts'
import { appendEvents } from '../../store/runs/events.ts'
import { acceptMail } from '../../store/runs/mail.ts'
import { recordState } from '../../store/runs/states.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { startOwnPostgres } from '../../test/support/postgres-cluster.ts'
import { givenRun } from '../../test/support/runs.ts'
import type { ApiDeps } from '../deps.ts'
import { streamEvents } from './stream.ts'

let postgres: Awaited<ReturnType<typeof startOwnPostgres>>
let databaseUrl: string
let api: TestApi
beforeAll(async () => {
  postgres = await startOwnPostgres()
  databaseUrl = await postgres.databaseUrl()
  api = await startTestApi({ databaseUrl })
})
afterAll(async () => {
  await api.close()
  await postgres.stop()
})

/** A run whose message has been read, so that its end is the end. */
async function readRun() {
  const { runId, messageId } = await givenRun(api.db)
  await acceptMail(api.db, { runId, key: 'test', ids: [messageId] })
  await api.hold(runId)
  return runId
}
const lines = (from: number, to: number): NewEvent[] =>
  Array.from({ length: to - from + 1 }, (_, index) => ({
    line: from + index,
    part: 0,
    time: '2026-01-02T03:04:05.000Z',
    kind: 'message',
    data: { text: `line ${from + index}` },
  }))
const append = (runId: string, from: number, to: number, journal = 'agent-1') =>
  api.host('POST', `/runs/${runId}/executions/1/events`, { journal, events: lines(from, to), read_to: to })
const end = (runId: string) => recordState(api.db, { runId, execution: 1, key: 'end', state: 'SUCCEEDED' })
const sequences = (events: RunEvent[]) => events.map((event) => event.sequence)
const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1)

test('pages of the transcript give every event once', async () => {
  const runId = await readRun()
  await append(runId, 1, 24)
  const pages: RunEvent[] = []
  let after = 0
  for (let page = 1; page <= 3; page++) {
    const { body } = await api.call('GET', `/agent/runs/${runId}/events?after=${after}&limit=10`)
    pages.push(...body.events)
    const isLast = page === 3
    expect(body.page_info).toEqual({
      has_next_page: !isLast,
      next_cursor: isLast ? null : String(page * 10),
      last_sequence: 25,
    })
    after = Number(body.page_info.next_cursor)
  }
  expect(sequences(pages)).toEqual(upTo(25))
  expect(await api.call('GET', `/agent/runs/${runId}/events?after=x`)).toMatchObject({ status: 400 })
})

test('pages of some kinds hold those alone, and end where there are no more', async () => {
  const { runId } = await givenRun(api.db)
  const kinds = ['message', 'usage', 'output', 'usage', 'message'] as const
  const events = kinds.map((kind, index) => ({
    line: index + 1,
    part: 0,
    time: new Date().toISOString(),
    kind,
    data: {},
  }))
  await appendEvents(api.db, { runId, execution: 1, journal: 'agent-1', events, readTo: 5 })
  const page = async (query: string) => (await api.call('GET', `/agent/runs/${runId}/events?${query}`)).body
  const first = await page('kind=usage&limit=1')
  expect(first.events.map((event: RunEvent) => event.kind)).toEqual(['usage'])
  expect(first.page_info.has_next_page).toBe(true)
  const rest = await page(`kind=usage&kind=message&after=${first.page_info.next_cursor}`)
  expect(rest.events.map((event: RunEvent) => event.kind)).toEqual(['usage', 'message'])
  expect(rest.page_info.has_next_page).toBe(false)
  expect(await page('kind=nonsense')).toMatchObject({
    status: 400,
    detail: expect.stringMatching(/^kind: must be message, /),
  })
})

test('the stream of a run that is over sends everything and ends', async () => {
  const runId = await readRun()
  for (let batch = 0; batch < 3; batch++) await append(runId, batch * 200 + 1, batch * 200 + 200)
  await end(runId)
  const { events, end: ending } = await api.stream(runId)
  expect(sequences(events)).toEqual(upTo(602))
  expect(ending).toEqual({ state: 'SUCCEEDED', last_sequence: 602 })
  expect(sequences((await api.stream(runId, { after: 600 })).events)).toEqual([601, 602])
  expect(sequences((await api.stream(runId, { after: 1, lastEventId: '601' })).events)).toEqual([602])
})

test('readers that come and go while several journals are written miss nothing and get nothing twice', async () => {
  const runId = await readRun()
  const writers = Array.from({ length: 3 }, async (_, writer) => {
    for (let line = 1; line <= 60; line += 2) await append(runId, line, line + 1, `journal-${writer}`)
  })
  const readers = Array.from({ length: 4 }, async (_, reader) => {
    const seen: RunEvent[] = []
    for (;;) {
      const part = await api.stream(runId, {
        lastEventId: String(seen.at(-1)?.sequence ?? 0),
        enough: (events) => events.length >= 5 + reader * 3,
      })
      seen.push(...part.events)
      if (part.end) return seen
    }
  })
  await Promise.all(writers)
  await end(runId)
  for (const seen of await Promise.all(readers)) expect(sequences(seen)).toEqual(upTo(1 + 3 * 60 + 1))
})

test('an event arrives as soon as it is stored', async () => {
  const runId = await readRun()
  const firstSeen = Promise.withResolvers<void>()
  const streaming = api.stream(runId, {
    enough: (events) => {
      firstSeen.resolve()
      return events.length >= 3
    },
  })
  await firstSeen.promise
  const before = performance.now()
  await append(runId, 1, 2)
  const { events } = await streaming
  // Well below the safety poll, which would bring it too.
  expect(performance.now() - before).toBeLessThan(2_000)
  expect(sequences(events)).toEqual([1, 2, 3])
})

test('a stream goes on over the end when it is asked to, and when a message is about to begin another execution', async () => {
  const runId = await readRun()
  await end(runId)
  const always = api.stream(runId, { always: true, enough: (events) => events.length >= 3 })
  await append(runId, 1, 1, 'late')
  expect(sequences((await always).events)).toEqual([1, 2, 3])

  const { body } = await api.call('POST', `/agent/runs/${runId}/followups`, { message: 'more' })
  const following = api.stream(runId)
  await append(runId, 2, 2, 'late')
  await acceptMail(api.db, { runId, key: 'second', ids: [body.message_id] })
  await append(runId, 3, 3, 'late')
  const { events, end: ending } = await following
  expect(sequences(events)).toEqual(upTo(5))
  expect(ending).toEqual({ state: 'SUCCEEDED', last_sequence: 5 })
})

test('a reader that goes while its run is looked up leaves no stream behind', async () => {
  const runId = await readRun()
  const second = createDatabase(databaseUrl)
  const listener = createEventListener({ url: databaseUrl })
  const closing = new AbortController()
  const left = Promise.withResolvers<void>()
  const server = createServer(async (request, response) => {
    await once(response, 'close')
    const deps = { db: second.db, listener, closing: closing.signal } as ApiDeps
    const wish = { runId, after: 0, endless: true, isRefused: async () => false }
    streamEvents(deps, request as Request, response as Response, wish).then(left.resolve, left.reject)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const reader = connect((server.address() as AddressInfo).port, '127.0.0.1')
  reader.end('GET / HTTP/1.1\r\nhost: a\r\n\r\n', () => reader.destroy())
  await left.promise
  server.close()
  await listener.close()
  await second.close()
})

test('a server that stops ends its streams without saying that the run is over', async () => {
  const runId = await readRun()
  const second = await startTestApi({ databaseUrl })
  const opened = Promise.withResolvers<void>()
  const streaming = second.stream(runId, {
    enough: (events) => {
      if (events.length > 0) opened.resolve()
      return false
    },
  })
  await opened.promise
  await second.close()
  expect(await streaming).toMatchObject({ events: [{ sequence: 1 }], end: null })
})

test('a stream outlives the database', async () => {
  const runId = await readRun()
  const seen: RunEvent[] = []
  const opened = Promise.withResolvers<void>()
  const following = (async () => {
    for (;;) {
      try {
        const part = await api.stream(runId, {
          lastEventId: String(seen.at(-1)?.sequence ?? 0),
          enough: (events) => {
            opened.resolve()
            return events.length >= 3
          },
        })
        seen.push(...part.events)
        if (part.end) return
      } catch {
        // As a client would: it comes back until the server can answer again.
      }
    }
  })()
  await opened.promise
  await postgres.restart()
  await append(runId, 1, 4)
  await end(runId)
  await following
  expect(sequences(seen)).toEqual(upTo(6))
})

test('the timeline tells the life of a run', async () => {
  const runId = await readRun()
  await end(runId)
  const { body } = await api.call('GET', `/agent/runs/${runId}/timeline`)
  expect(body.events).toEqual([
    {
      event_uuid: expect.any(String),
      run_id: runId,
      execution_id: `${runId}-1`,
      execution: 1,
      event_type: 'oz_run_created',
      occurred_at: expect.any(String),
      payload: { state: 'QUEUED' },
    },
    expect.objectContaining({ event_type: 'oz_run_done', payload: { state: 'SUCCEEDED' } }),
  ])
})
