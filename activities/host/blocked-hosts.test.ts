import { setTimeout as delay } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import type { BlockedHost } from '../../domain/egress.ts'
import type { NewEvent } from '../../domain/event.ts'
import type { BlockedHosts } from '../../domain/host-api.ts'
import { logBlockedHosts, tellBlockedHosts, watchBlockedHosts } from './blocked-hosts.ts'
import type { Execution } from './execution.ts'

const refused = (host: string, count: number): BlockedHost => ({
  ...{ host, port: 443, count, first_seen: '2026-01-02T03:04:05.000Z' },
})

function execution(hosts: () => BlockedHost[], allow: string[] | null = []) {
  const told: BlockedHosts[] = []
  const recorded: { journal: string; events: NewEvent[] }[] = []
  const noted: unknown[][] = []
  const warn = vi.fn()
  const fake = {
    deps: {
      host: { blockedHosts: async () => hosts() },
      server: {
        blockedHosts: async (_run: string, _execution: number, blocked: BlockedHosts) => void told.push(blocked),
      },
      log: { warn },
    },
    ref: { runId: 'run', execution: 1 },
    order: { environment: allow === null ? {} : { egress: { allow } } },
    state: { get: () => ({ generation: 3 }) },
    transcript: {
      notes: (journal: string) => ({
        add: async (kind: string, data: Record<string, unknown>) => void noted.push([journal, kind, data.message]),
      }),
      record: async (journal: string, events: NewEvent[]) => void recorded.push({ journal, events }),
    },
    signals: { detach: new AbortController().signal },
  }
  return { execution: fake as unknown as Execution, told, recorded, noted, warn }
}

test('what the set-up of a build was refused is in its log', async () => {
  const { execution: at, noted } = execution(() => [refused('a.example', 1), { ...refused('b.example', 3), port: 0 }])
  await logBlockedHosts(at)
  expect(noted).toEqual([
    ['egress-3', 'warning', expect.stringContaining('was refused a.example:443: the environment')],
    ['egress-3', 'warning', expect.stringContaining('was refused b.example (3 times): ')],
  ])
})

test('each host that was refused has one line of the transcript, for good', async () => {
  let hosts = [refused('a.example', 1)]
  const { execution: at, told, recorded } = execution(() => hosts)
  const first = await tellBlockedHosts(at, [])
  hosts = [refused('a.example', 2), refused('b.example', 1)]
  const second = await tellBlockedHosts(at, first)
  expect(await tellBlockedHosts(at, second)).toBe(second)
  expect(told).toEqual([
    { sandbox: 3, hosts: [refused('a.example', 1)] },
    { sandbox: 3, hosts },
  ])
  const lines = recorded.map(({ journal, events }) => [
    journal,
    events.map(({ line, kind, data }) => [line, kind, data.code, data.host]),
  ])
  const [a, b] = ['a.example', 'b.example'].map((host, index) => [index + 1, 'warning', 'egress_blocked', host])
  expect(lines).toEqual([
    ['egress-3', [a]],
    ['egress-3', [a, b]],
  ])
})

test('it is told while the work goes on, and a last time at its end', async () => {
  let hosts = [refused('a.example', 1)]
  const { execution: at, told } = execution(() => hosts)
  const stop = watchBlockedHosts(at)
  await expect.poll(() => told.length).toBe(1)
  hosts = [refused('a.example', 7)]
  await stop()
  expect(told.at(-1)).toEqual({ sandbox: 3, hosts })
  const { length } = told
  await delay(20)
  expect(told).toHaveLength(length)
})

test('a server that does not take it does not end the work', async () => {
  const { execution: at, warn } = execution(() => {
    throw new Error('no such file')
  })
  await watchBlockedHosts(at)()
  expect(warn).toHaveBeenCalledOnce()
})

test('nobody looks where the environment names no hosts', async () => {
  const hosts = vi.fn(() => [])
  await watchBlockedHosts(execution(hosts, null).execution)()
  expect(hosts).not.toHaveBeenCalled()
})
