import { expect, test } from 'vitest'
import type { Execution } from './execution.ts'
import { nextGeneration, usableSandbox } from './sandbox.ts'

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

test('a host without containers fails a run whose environment names its hosts, rather than let it reach others', async () => {
  const execution = {
    deps: { host: { kind: 'direct' } },
    ref: { runId: 'run', execution: 1 },
    order: { environment: { egress: { allow: ['registry.example.org'] } } },
    state: { get: () => ({ generation: 0 }) },
  } as unknown as Execution
  await expect(usableSandbox(execution)).rejects.toMatchObject({ failure: { code: 'invalid_run', phase: 'workspace' } })
})
