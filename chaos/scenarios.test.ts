import { expect, test } from 'vitest'
import { killSchedule } from './kills.ts'
import { hostKinds } from './options.ts'
import { createRandom } from './random.ts'
import { makePlans, scenarios } from './scenarios.ts'

const told = (seed: number, count: number) =>
  JSON.stringify(makePlans(count, createRandom(seed), { hosts: hostKinds, refusals: true }))
function kills(seed: number) {
  const schedule = killSchedule(createRandom(seed), 1_000)
  return Array.from({ length: 100 }, () => schedule.next().value)
}

test('a seed determines the runs and the kills', () => {
  expect(told(1, 50)).toBe(told(1, 50))
  expect(told(1, 50)).not.toBe(told(2, 50))
  expect(kills(1)).toEqual(kills(1))
  expect(kills(1)).not.toEqual(kills(2))
})

test('runs are on the hosts in turn, and of every scenario', () => {
  const plans = makePlans(400, createRandom(1), { hosts: hostKinds, refusals: true })
  expect(plans.filter(({ host }) => host === 'docker')).toHaveLength(200)
  const names = plans.map(({ scenario, agent }) => `${scenario}, ${agent}`)
  expect(new Set(names)).toEqual(new Set(scenarios.map(({ name, agent }) => `${name}, ${agent}`)))
})
