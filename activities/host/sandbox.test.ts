import { expect, test } from 'vitest'
import { nextGeneration } from './sandbox.ts'

test("a run's sandboxes are counted on while its workspace is kept", () => {
  expect(nextGeneration(0, 1)).toBe(1)
  expect(nextGeneration(1, 1)).toBe(2)
  expect(nextGeneration(1, 2)).toBe(2)
})

test('a run that begins anew after its workspace was removed uses no former name again', () => {
  const former = [nextGeneration(0, 1), nextGeneration(1, 1)]
  expect(former).not.toContain(nextGeneration(0, 2))
  expect(nextGeneration(0, 3)).not.toBe(nextGeneration(0, 2))
})
