// A run may take so much of its host's disk and no more.
import { expect, test } from 'vitest'
import { leftovers } from '../support/leftovers.ts'
import { startStack } from '../support/stack.ts'

test.each(['direct', 'docker'] as const)(
  'on the %s host a run that fills the disk ends as FAILED, and a follow-up can clear it',
  async (host) => {
    const stack = await startStack({ host, env: { AMBIENT_DISK_GB: '0.05' } })
    try {
      const command = ['sh', '-c', 'sh -c "$0"', '{prompt}']
      const runId = await stack.start({
        prompt: 'head -c 80000000 /dev/urandom >large; sleep 987',
        config: { harness: { type: 'command', command }, permission_policy: 'allow', idle_timeout_minutes: 0 },
      })
      const run = await stack.until(runId, 'FAILED')
      const events = await stack.events(runId)
      const failure = events.findLast(({ kind }) => kind === 'state')?.data.failure
      expect(failure).toMatchObject({
        code: 'disk_limit',
        phase: 'turn',
        message: expect.stringMatching(/takes 0\.0[89] GiB of the disk; it may take 0\.05 GiB/),
        next_step: expect.stringContaining('AMBIENT_DISK_GB'),
      })
      expect(run.execution).toBe(1)
      expect(await leftovers(runId)).toEqual([])
      await stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, { message: 'rm large' })
      await stack.until(runId, 'SUCCEEDED', { execution: 2 })
    } finally {
      await stack.stop()
    }
  },
)
