import { expect, test } from 'vitest'
import { createRefusals } from './refusals.ts'

test('refused sign-ins are written down so often an hour, and beyond that counted for the next entry', () => {
  let now = 0
  const refusals = createRefusals(() => now)
  const from = (ip: string) => refusals.count({ ip } as Parameters<typeof refusals.count>[0])
  const noted = (ips: string[]) => ips.map(from).filter((entry) => entry !== null)
  expect(noted(Array(50).fill('192.0.2.1'))).toHaveLength(20)
  expect(from('192.0.2.2')).toEqual({ unnoted: 30 })
  expect(from('192.0.2.2')).toEqual({ unnoted: 0 })
  const many = Array.from({ length: 1_000 }, (_, index) => `198.51.${index >> 8}.${index & 255}`)
  expect(noted(many)).toHaveLength(200 - 22)
  now += 60 * 60_000
  expect(from('192.0.2.1')).toEqual({ unnoted: 1_000 - 178 })
})
