import { expect, test } from 'vitest'
import type { LedgerEntry } from '../../domain/money/money.ts'
import { dollars } from '../../domain/money/text.ts'
import { budgetBar } from '../render/budget.ts'
import { csvLine } from './credits.ts'

const entry: LedgerEntry = {
  position: 7,
  kind: 'grant',
  credits: 500,
  usd: 0,
  occurred_at: '2026-01-31T12:00:00.000Z',
  person: { type: 'user', uid: 'operator', display_name: 'Operator', email: null, photo_url: null },
  run_id: null,
  execution: null,
  schedule_id: null,
  provider: null,
  model: null,
  tokens: null,
  is_priced: true,
  is_estimated: false,
  seconds: null,
  cpus: null,
  memory_mb: null,
  note: null,
}

test('a note of the ledger is a text in whatever opens its file, and never a formula', () => {
  const line = (note: string) => csvLine({ ...entry, note })
  expect(line('For the spring')).toBe(
    '7,2026-01-31T12:00:00.000Z,grant,500,0,operator,,,,,,,,,,true,,,,For the spring\n',
  )
  expect(line('a, "b"')).toContain(',"a, ""b"""\n')
  expect(line('=HYPERLINK("x")')).toContain(`,"'=HYPERLINK(""x"")"\n`)
})

test('sums are shown with as many places as they need to be seen, and a full bar is a used up budget', () => {
  expect([0, 12, 123_456, 1_500_000, -2_361].map(dollars)).toEqual([
    '$0.00',
    '$0.000012',
    '$0.123',
    '$1.50',
    '-$0.002361',
  ])
  expect(budgetBar({ limit_usd: 5, spent_usd: 4.999, percent: 99.9 })).toBe(
    `${'▓'.repeat(19)}░ $5.00 of $5.00 (99.9 %)`,
  )
  expect(budgetBar({ limit_usd: 5, spent_usd: 6, percent: 120 })).toBe(`${'▓'.repeat(20)} $6.00 of $5.00 (120 %)`)
})
