// A prompt in, a real agent's work out: on both hosts, with the agents as their makers publish them.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RunEvent } from '../../domain/event.ts'
import { type BothHosts, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import type { Stack } from '../support/stack.ts'

/** On the slower ones a turn takes several seconds; three agents on both hosts, the others in the agents' own conformance test. */
const agents = ['codex', 'claude', 'opencode'] as const

let both: BothHosts
let stack: Stack
let repository: SampleRepository

beforeAll(async () => {
  repository = await sampleRepository()
  both = await startBothHosts()
  stack = both.stack
})

afterAll(async () => {
  await both?.stop()
  await repository?.remove()
})

for (const host of hostKinds) {
  describe(`on the ${host} host`, () => {
    const here = { worker_host: poolOf[host], idle_timeout_minutes: 0 }

    test.each(agents)('%s works on a repository, and its work comes out as transcript and diff', async (agent) => {
      const id = randomUUID()
      const runId = await stack.start({
        prompt: script(id, [
          { text: 'I look around first.', shell: 'cat README.md' },
          {
            text: 'Now I write.',
            shell: "printf 'from the agent\\n' > agent.txt && git add agent.txt && git commit -qm 'Add a file'",
          },
          { text: 'All done here.', chunks: 5 },
        ]),
        config: { ...here, harness: { type: agent }, permission_policy: 'allow' },
        environment: { repos: [{ url: repository.url }], setup_commands: ['echo set up > .git/set-up'] },
      })
      const run = await stack.until(runId, 'SUCCEEDED')

      expect(stack.model.steps(id)).toEqual([0, 1, 2])
      expect(run).toMatchObject({ state: 'SUCCEEDED', execution: 1, failure: null, is_sandbox_running: false })

      const events = await stack.events(runId)
      expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1))
      expect(textOf(events)).toContain('I look around first.')
      expect(textOf(events)).toContain('All done here.')
      expect(events.filter(({ kind }) => kind === 'tool_call').length).toBeGreaterThanOrEqual(2)
      expect(JSON.stringify(events.filter(({ kind }) => kind.startsWith('tool')))).toContain('A sample')
      expect(events.filter(({ kind }) => kind === 'turn_end')).toHaveLength(1)
      expect(events.filter(({ kind }) => kind === 'state').map(({ data }) => data.state)).toEqual([
        'QUEUED',
        'PENDING',
        'CLAIMED',
        'INPROGRESS',
        'SUCCEEDED',
      ])

      const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
      expect(diff).toContain('+from the agent')
      const { body: result } = await stack.call<{ repositories: { commits: { subject: string }[] }[] }>(
        'GET',
        `/api/v1/agent/runs/${runId}/diff?format=json`,
      )
      expect(result.repositories[0]?.commits.map(({ subject }) => subject)).toEqual(['Add a file'])
      expect(await leftovers(runId)).toEqual([])
    })

    test('a command is an agent too: its lines are the transcript, its exit code the outcome', async () => {
      const runId = await stack.start({
        prompt: 'what I ask for',
        config: {
          ...here,
          harness: {
            type: 'command',
            command: ['sh', '-c', 'cat; echo; echo "$0" >&2; echo made > made.txt', '{prompt}'],
          },
          permission_policy: 'allow',
        },
        environment: { repos: [{ url: repository.url }] },
      })
      await stack.until(runId, 'SUCCEEDED')
      const lines = (await stack.events(runId)).filter(({ kind }) => kind === 'output').map(({ data }) => data.text)
      expect(lines).toContain('what I ask for')
      const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
      expect(diff).toContain('+made')
    })

    test('several repositories lie beside each other', async () => {
      const runId = await stack.start({
        prompt: 'look',
        config: {
          ...here,
          harness: {
            type: 'command',
            command: ['sh', '-c', 'ls; git -C one status --short; git -C two log --oneline -1'],
          },
        },
        environment: {
          repos: [
            { url: repository.url, path: 'one' },
            { url: repository.url, path: 'two', ref: 'other' },
          ],
        },
      })
      await stack.until(runId, 'SUCCEEDED')
      const lines = (await stack.events(runId)).filter(({ kind }) => kind === 'output').map(({ data }) => data.text)
      expect(lines).toEqual(expect.arrayContaining(['one', 'two']))
      expect(lines.join('\n')).toContain('On the other branch')
    })
  })
}

const textOf = (events: RunEvent[]) =>
  events
    .filter(({ kind }) => kind === 'message')
    .map(({ data }) => data.text)
    .join('')
