import { expect, test } from 'vitest'
import type { WorkerItem } from '../domain/worker.ts'
import { renderWorkers } from './commands/workers.ts'
import { plainStyle } from './render/style.ts'

const worker: WorkerItem = {
  worker_id: 'rack-4',
  pool: 'gpu',
  kind: 'docker',
  version: '0.1.0',
  state: 'draining',
  capacity: 20,
  in_use: 3,
  connected_at: '2026-11-21T10:00:00.000Z',
  last_seen_at: '2026-11-21T12:00:00.000Z',
  draining_at: '2026-11-21T11:59:00.000Z',
  egress: 'public',
  key_uid: null,
}

test('hosts are listed with what they hold and when they were seen last', () => {
  const now = Date.parse('2026-11-21T12:00:12.000Z')
  const gone = { ...worker, worker_id: 'a\u001b[31m', state: 'gone', in_use: 0, pool: 'default' } as const
  expect(renderWorkers([worker, gone], plainStyle, now)).toBe(
    [
      'HOST    POOL     KIND    STATE     RUNS  SEEN      VERSION',
      'rack-4  gpu      docker  draining  3/20  12 s ago  0.1.0',
      'a       default  docker  gone      0/20  12 s ago  0.1.0',
      '',
    ].join('\n'),
  )
})
