import { expect, test } from 'vitest'
import type { RunFigures } from '../../domain/statistics.ts'
import { plainStyle } from '../render/style.ts'
import { renderStatistics } from './stats.ts'

const figures = (runs: number): RunFigures => ({
  runs,
  going_on: 0,
  succeeded: runs - 1,
  failed: 1,
  errors: 0,
  cancelled: 0,
  success_rate: (runs - 1) / runs,
  run_time_seconds: { p50: 61, p95: 3_600 },
  queue_wait_seconds: null,
  failure_reasons: [{ code: 'setup_command_failed', phase: 'setup', runs: 1 }],
  total_tokens: 1_000,
  cost_usd: 1.5,
})

test('statistics are shown by what was asked for, with the others, the whole, and why runs failed', () => {
  const shown = renderStatistics(
    {
      as_of: '2026-05-31T12:00:00.000Z',
      team_uid: 'default',
      start_date: '2026-04-30T22:00:00.000Z',
      end_date: '2026-05-31T12:00:00.000Z',
      time_zone: 'Europe/Berlin',
      total: figures(10),
      groups: [{ key: 'e1', name: 'web\u001b[31m', ...figures(6) }],
      rest: figures(4),
    },
    plainStyle,
  )
  expect(shown).toContain('10 runs from 2026-05-01 to 2026-05-31 (Europe/Berlin)')
  const lines = shown.split('\n').map((line) => line.split(/ {2,}/))
  expect(lines.find(([name]) => name?.startsWith('web'))).toEqual([
    expect.not.stringContaining('\u001b'),
    '6',
    '83.3 %',
    '5',
    '1',
    '0',
    '0',
    '0',
    '1 min 1 s',
    '1 h',
    '$1.50',
  ])
  expect(lines).toContainEqual(['(others)', '4', '75.0 %', '3', '1', '0', '0', '0', '1 min 1 s', '1 h', '$1.50'])
  expect(lines).toContainEqual(['all', '10', '90.0 %', '9', '1', '0', '0', '0', '1 min 1 s', '1 h', '$1.50'])
  expect(lines).toContainEqual(['1', 'setup_command_failed', 'setup'])
})
