// A prompt in, a real agent's work out: on both hosts, with the agents as their makers publish them.
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SkillList } from '../../domain/configuration/skill.ts'
import type { RunEvent } from '../../domain/event.ts'
import { type BothHosts, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { leftovers } from '../support/leftovers.ts'
import { startHttpServer, stdioServer } from '../support/mcp-servers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import type { Stack } from '../support/stack.ts'

/** On the slower ones a turn takes several seconds; three agents on both hosts, the others in the agents' own conformance test. */
const agents = ['codex', 'claude', 'opencode'] as const

let both: BothHosts
let stack: Stack
let repository: SampleRepository

/** In what a skill says, and nowhere else. */
const SKILL_SAYS = 'Always sign with the word of the greeter'
/** The team's rule. */
const RULE_SAYS = 'Say in every commit what it is for'

beforeAll(async () => {
  repository = await sampleRepository()
  const folder = join(repository.path, '.claude', 'skills', 'greet')
  await mkdir(folder, { recursive: true })
  await writeFile(
    join(folder, 'SKILL.md'),
    `---\nname: greet\ndescription: Greets people.\n---\n${SKILL_SAYS}, which is in word.txt.\n`,
  )
  await writeFile(join(folder, 'word.txt'), 'plover\n')
  await writeFile(
    join(repository.path, '.mcp.json'),
    JSON.stringify({
      mcpServers: {
        own: { command: process.execPath, args: ['-e', stdioServer('own_tool', 'WORD')], env: { WORD: `\${WORD}` } },
        asks: { command: 'any', env: { KEY: `\${input:key}` } },
      },
    }),
  )
  await repository.git('add', '.')
  await repository.git('commit', '--quiet', '--message', 'A skill')
  both = await startBothHosts({ AMBIENT_MCP_ALLOW: '127.0.0.1' })
  stack = both.stack
  // Skills are found in the repositories of stored environments, by the hosts.
  await stack.call('POST', '/api/v1/agent/environments', {
    name: 'sample',
    repos: [{ url: repository.url }],
    prepare: false,
  })
  const { body } = await stack.call<SkillList>('GET', '/api/v1/agent?refresh=true')
  expect(body.agents.map(({ name }) => name)).toEqual(['greet'])
  await stack.call('POST', '/api/v1/agent/rules', { name: 'commits', text: RULE_SAYS })
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
        skill: 'greet',
        config: { ...here, harness: { type: agent }, permission_policy: 'allow' },
        environment: { repos: [{ url: repository.url }], setup_commands: ['echo set up > .git/set-up'] },
      })
      const run = await stack.until(runId, 'SUCCEEDED')

      expect(stack.model.steps(id)).toEqual([0, 1, 2])
      expect(run).toMatchObject({ state: 'SUCCEEDED', execution: 1, failure: null, is_sandbox_running: false })

      // What the skill says reaches the model, and once, although some agents find skills by themselves.
      expect(run.agent_skill).toMatchObject({ name: 'greet', revision: await repository.git('rev-parse', 'HEAD') })
      const [request] = stack.model.requests.filter(({ scriptId }) => scriptId === id)
      expect(request?.body.split(SKILL_SAYS)).toHaveLength(2)
      // As does the rule, which is in no repository.
      expect(request?.body.split(RULE_SAYS)).toHaveLength(2)

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

    test('a profile has a skill, and MCP servers that start in the sandbox or are reached past it; their values are seen by nobody', async () => {
      const web = await startHttpServer('http_tool')
      const id = randomUUID()
      const [key, token] = [`key-${randomUUID()}`, `token-${randomUUID()}`]
      const api = '/api/v1/agent'
      await stack.call('POST', `${api}/secrets`, { name: `KEY_${host}`, value: key })
      const { body: stored } = await stack.call<{ uid: string }>('POST', `${api}/mcp-servers`, {
        name: `web-${host}`,
        url: web.url,
        headers: { authorization: `Bearer \${KEY_${host}}`, 'x-token': token },
      })
      const node = host === 'docker' ? '/opt/ambient/node' : process.execPath
      await stack.call('POST', `${api}/profiles`, {
        name: `tools-${host}`,
        config: {
          harness: { type: 'codex' },
          permission_policy: 'allow',
          secrets: [],
          mcp_servers: {
            web: { warp_id: stored.uid },
            files: {
              command: node,
              args: ['-e', stdioServer('stdio_tool', 'TOKEN')],
              env: { TOKEN: `\${KEY_${host}}` },
            },
            broken: { command: '/bin/sh', args: ['-c', 'echo no database >&2; exit 3'] },
            unnamed: { url: web.url, headers: { authorization: `\${NOBODY}` } },
          },
          skills: ['greet'],
        },
      })
      const runId = await stack.start({
        prompt: script(id, [
          { tool: { name: 'stdio_tool', arguments: {} } },
          { tool: { name: 'http_tool', arguments: { say: 'hello' } } },
          { chunks: 2, waitFor: id },
        ]),
        config: { ...here, profile: `tools-${host}` },
      })
      await stack.model.waitUntilHeld(id)
      const commandLines = await Promise.all(
        (await readdir('/proc'))
          .filter((name) => /^\d+$/.test(name))
          .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
      )
      const containers = host === 'docker' ? await containersOf(runId) : []
      const inspected = containers.length > 0 ? (await execa('docker', ['inspect', ...containers])).stdout : ''
      stack.model.release(id)
      const run = await stack.until(runId, 'SUCCEEDED')
      await web.close()

      expect(run.configuration).toMatchObject({
        profile: { name: `tools-${host}`, version: 1 },
        sources: { mcp_servers: { type: 'profile' }, skills: { type: 'profile' }, worker_host: { type: 'request' } },
      })
      const [request] = stack.model.requests.filter(({ scriptId }) => scriptId === id)
      expect(request?.body.split(SKILL_SAYS)).toHaveLength(2)
      const events = await stack.events(runId)
      const told = events.filter(({ kind }) => kind === 'mcp_server').map(({ data }) => data)
      const by = Object.fromEntries(told.map(({ name, milliseconds: _, ...rest }) => [String(name), rest]))
      expect(by).toEqual({
        web: { type: 'http', state: 'ready', tools: ['http_tool'], tool_count: 1 },
        files: { type: 'stdio', state: 'ready', tools: ['stdio_tool'], tool_count: 1 },
        broken: {
          type: 'stdio',
          state: 'failed',
          reason: 'It ended with exit code 3 before it had told its tools.',
          exit_code: 3,
          log_tail: 'no database',
        },
        unnamed: { type: 'http', state: 'failed', reason: expect.stringContaining(`\${NOBODY} is neither a secret`) },
      })
      expect(web.calls.map(({ tool, headers }) => [tool, headers.authorization, headers['x-token']])).toEqual([
        ['http_tool', `Bearer ${key}`, token],
      ])
      // The command has said backwards what it was given.
      expect(JSON.stringify(events)).toContain([...key].reverse().join(''))
      expect(run.agent_config.mcp_servers).toMatchObject({
        web: { headers: { authorization: `Bearer \${KEY_${host}}`, 'x-token': '***' } },
      })
      const seen = [JSON.stringify(events), JSON.stringify(run), commandLines.join('\n'), inspected]
      for (const place of seen) for (const value of [key, token]) expect(place).not.toContain(value)
    })

    test.runIf(host === 'direct')(
      'the servers that a repository names start where the run lets them, and a required one that does not start fails it',
      async () => {
        const id = randomUUID()
        const config = { ...here, harness: { type: 'codex' }, permission_policy: 'allow' }
        const environment = { repos: [{ url: repository.url }], env: { WORD: 'of-the-environment' } }
        const start = (prompt: string, more: object) =>
          stack.start({ prompt, config: { ...config, ...more }, environment })
        const steps = [{ tool: { name: 'own_tool', arguments: {} } }, { text: 'Used.' }]
        const [left, used, failed] = await Promise.all([
          start(script(randomUUID(), [{ text: 'Hello.' }]), {}),
          start(script(id, steps), { repository_mcp_servers: true }),
          start('x', { mcp_servers: { gone: { command: 'no-such-program', required: true } } }),
        ])
        await Promise.all([stack.until(left, 'SUCCEEDED'), stack.until(used, 'SUCCEEDED')])
        const told = async (runId: string) =>
          (await stack.events(runId)).filter(({ kind }) => kind === 'mcp_server').map(({ data }) => data)
        expect(await told(left)).toEqual([])
        expect(await told(used)).toMatchObject([
          { name: 'asks', state: 'failed', reason: expect.stringContaining('means nothing here') },
          { name: 'own', state: 'ready', tools: ['own_tool'] },
        ])
        expect(JSON.stringify(await stack.events(used))).toContain([...'of-the-environment'].reverse().join(''))
        expect(await stack.until(failed, 'FAILED')).toMatchObject({
          failure: { code: 'mcp_server_failed', message: expect.stringContaining('gone, which the run requires') },
        })
      },
    )

    test('a command is an agent too: its lines are the transcript, its exit code the outcome', async () => {
      const runId = await stack.start({
        prompt: 'what I ask for',
        skill: 'greet',
        config: {
          ...here,
          harness: {
            type: 'command',
            command: [
              'sh',
              '-c',
              'cat; echo; echo "$0" >&2; echo made > made.txt; cat ~/.ambient/skills/greet/word.txt',
              '{prompt}',
            ],
          },
          permission_policy: 'allow',
        },
        // Where the skill is not: it lies beside.
        environment: { repos: [{ url: repository.url, ref: 'other' }] },
      })
      await stack.until(runId, 'SUCCEEDED')
      const lines = (await stack.events(runId)).filter(({ kind }) => kind === 'output').map(({ data }) => data.text)
      expect(lines).toContain('what I ask for')
      expect(lines).toContain('plover')
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

const containersOf = async (runId: string): Promise<string[]> =>
  (await execa('docker', ['ps', '-q', '--filter', `label=ambient.run=${runId}`])).stdout.split('\n').filter(Boolean)
