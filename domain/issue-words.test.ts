import { expect, test } from 'vitest'
import { z } from 'zod'
import { parse } from './parse.ts'

const Body = z.object({
  from: z.iso.datetime({ offset: true }),
  day: z.iso.date(),
  run_id: z.uuid(),
  link: z.url(),
  at: z.union([z.iso.datetime({ offset: true }), z.iso.date()]),
})

test('a value that has not the form it should is refused with what the form looks like', () => {
  const given = { from: '2026-01-31', day: 'today', run_id: '7', link: 'x', at: 'soon' }
  expect(() => parse(Body, given)).toThrow(
    [
      'from: must be a time like 2026-01-31T12:00:00Z',
      'day: must be a day like 2026-01-31',
      'run_id: must be a UUID',
      'link: must be a URL with http:// or https://',
      'at: must be a time like 2026-01-31T12:00:00Z, or must be a day like 2026-01-31',
    ].join('; '),
  )
})
