// The same behaviour over every real agent, against a scripted model, on processes of this machine.
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { textOfSkill } from '../activities/host/skills.ts'
import { root } from '../config.ts'
import type { PermissionPolicy } from '../domain/harness.ts'
import type { ModelCallEnd } from '../domain/models/call.ts'
import { TOOLS_SERVER } from '../domain/tools.ts'
import { createGateway, type Gateway } from '../secrets/gateway/gateway.ts'
import { type ModelServer, type ScriptStep, script, startModelServer } from '../test/support/model-server.ts'
import { type RunServers, startRunServers } from '../test/support/run-servers.ts'
import { startToolServer, type ToolServer } from '../test/support/tools.ts'
import type { AgentQuestion } from '../workflows/contract.ts'
import { openSession } from './acp/session.ts'
import { type LocalProcess, startProcess } from './acp/testing/local-process.ts'
import { memoryClaims, memoryTranscript } from './acp/testing/memory.ts'
import { runTurn } from './acp/turn.ts'
import type { TurnMessage, TurnSignals } from './acp/turn-options.ts'
import type { AcpAgent } from './agent.ts'
import { agents } from './index.ts'
import { installAgent } from './install.ts'

const cache = process.env.AMBIENT_TEST_CACHE ?? join(root, '.ambient', 'test-cache')
const TOKEN = 'run-credential'
/** Which no sandbox gets. */
const KEY = 'real-key'
const TOOL_TOKEN = 'tool-credential'
/** What its team, and what its repository has it told. */
const RULE = `${'Mind the gap. '.repeat(9_000)}\nRule of the team: say please.`
const OWN_RULE = 'Rule of the repository: say thank you.'

const acpAgents = Object.values(agents).filter((agent): agent is AcpAgent => agent.protocol === 'acp')

/** A command that runs until it is ended; some agents refuse a long `sleep`. */
const ENDLESS = 'tail -f /dev/null'

const skillText = (name: string) =>
  `---\nname: ${name}\ndescription: For what ${name} is for.\n---\nWhat ${name} says.\n`

/** What an agent is told of the skill that its run works by: one that it finds in the repository by itself as well. */
function skillToldOf(workspace: string, { skills: { inRepository } }: AcpAgent): string {
  const path = `${inRepository[0]}/place-0`
  const skill = { name: 'place-0', owner: 'you', repo: 'app', path: `${path}/SKILL.md`, folder: `${workspace}/${path}` }
  return textOfSkill(skill, skillText('place-0'))
}

/** What a repository may have of servers of tools for each agent, which say that they were started by a file here. */
function settingsOfRepository(directory: string): Record<string, string> {
  const args = (agent: string) => ['-c', `touch ${join(directory, `started-for-${agent}`)}; cat`]
  const servers = (agent: string) => ({ stranger: { command: '/bin/sh', args: args(agent) } })
  const ofAgent = (agent: string, more: object = {}) => JSON.stringify({ mcpServers: servers(agent), ...more })
  const command = ['/bin/sh', ...args('opencode')]
  return {
    '.mcp.json': ofAgent('claude'),
    '.claude/settings.json': JSON.stringify({ enableAllProjectMcpServers: true, enabledMcpjsonServers: ['stranger'] }),
    '.codex/config.toml': `[mcp_servers.stranger]\ncommand = "/bin/sh"\nargs = ${JSON.stringify(args('codex'))}\n`,
    '.gemini/settings.json': ofAgent('gemini'),
    'opencode.json': JSON.stringify({ mcp: { stranger: { type: 'local', command, enabled: true } } }),
    '.qwen/settings.json': ofAgent('qwen'),
  }
}

/** Waits for what can only be seen by looking. */
const until = (what: string, holds: () => Promise<boolean>): Promise<void> =>
  expect.poll(holds, { message: `waited in vain until ${what}` }).toBe(true)

describe.each(acpAgents)('$title', (agent) => {
  let model: ModelServer
  let gateway: Gateway
  let gatewayUrl: string
  const counted: ModelCallEnd[] = []
  let tools: ToolServer
  let servers: RunServers
  let toolkit: string
  let directory: string
  let home: string
  let workspace: string
  let generation = 0
  let agentProcess: LocalProcess | null = null
  let sessionId: string | null = null
  let previousMessageId: string | null = null
  let policy: PermissionPolicy
  const token = agent.quirks.toolTokenByName ? `\${AMBIENT_MCP_TOKEN}` : TOOL_TOKEN
  const toolHeader = { name: 'Authorization', value: `Bearer ${token}` }
  const claims = memoryClaims()
  let transcript = memoryTranscript()
  /** One in each folder where the agent is said to look, as it lies there. */
  const skills = [
    ...agent.skills.inRepository.map((path, at) => ({ name: `place-${at}`, folder: () => join(workspace, path) })),
    { name: 'place-home', folder: () => join(home, agent.skills.inHome) },
  ]

  beforeAll(async () => {
    toolkit = await installAgent(agent, { directory: join(cache, 'agents') })
    model = await startModelServer()
    const target = { baseUrl: agent.provider === 'openai' ? `${model.url}/v1` : model.url, apiKey: KEY }
    gateway = createGateway({
      authorize: async (value) => (value === TOKEN ? { runId: randomUUID(), execution: 1, team: 'default' } : null),
      route: async () => ({ target, priced: true }),
      hooks: { admit: async () => null, settle: async (_holder, _call, end) => void counted.push(end) },
      log: { warn: () => {} },
    })
    gatewayUrl = `http://127.0.0.1:${await gateway.listen(0, '127.0.0.1')}/${agent.provider}`
    tools = await startToolServer()
    servers = await startRunServers(TOOL_TOKEN)
    directory = await mkdtemp(join(tmpdir(), `conformance-${agent.name}-`))
    home = join(directory, 'home')
    workspace = join(directory, 'workspace')
    for (const path of [home, workspace, join(directory, 'tmp')]) await mkdir(path)
    for (const { name, folder } of skills) {
      await mkdir(join(folder(), name), { recursive: true })
      await writeFile(join(folder(), name, 'SKILL.md'), skillText(name))
    }
    for (const [path, content] of Object.entries(settingsOfRepository(directory))) {
      await mkdir(dirname(join(workspace, path)), { recursive: true })
      await writeFile(join(workspace, path), content)
    }
    await writeFile(join(workspace, 'AGENTS.md'), OWN_RULE)
    // By itself Claude Code reads one of the two.
    await writeFile(join(workspace, 'CLAUDE.md'), 'Rules for Claude.')
  })

  afterEach(() => {
    transcript = memoryTranscript()
  })

  afterAll(async () => {
    await agentProcess?.kill()
    await gateway?.close(0)
    await model?.close()
    await tools?.close()
    await servers?.close()
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  })

  /** Starts a new process of the agent, over the home and the session of the one before it. */
  async function start(as: PermissionPolicy): Promise<boolean> {
    policy = as
    generation += 1
    const launch = agent.launch({
      home,
      workspace,
      toolkit,
      node: process.execPath,
      gatewayUrl,
      gatewayToken: TOKEN,
      model: null,
      reasoningLevel: null,
      policy,
      rules: RULE,
      mcpServers: [TOOLS_SERVER, ...servers.names],
      isolated: false,
      runsAsRoot: process.getuid?.() === 0,
    })
    expect(JSON.stringify([launch.command, launch.files])).not.toContain(TOKEN)
    for (const file of launch.files) {
      await mkdir(dirname(join(home, file.path)), { recursive: true })
      await writeFile(join(home, file.path), file.content)
    }
    agentProcess = startProcess({
      name: `agent-${generation}`,
      directory,
      command: launch.command,
      env: {
        PATH: process.env.PATH ?? '',
        LANG: 'C.UTF-8',
        HOME: home,
        TMPDIR: join(directory, 'tmp'),
        ...launch.env,
        ...(agent.quirks.toolTokenByName ? { AMBIENT_MCP_TOKEN: TOOL_TOKEN } : {}),
        // Claude Code tries a key that is not accepted again and again, which a test need not wait for.
        ...(agent.name === 'claude' ? { CLAUDE_CODE_MAX_RETRIES: '1' } : {}),
      },
      cwd: workspace,
    })
    const opened = await openSession({
      journal: agentProcess.journal,
      claims,
      cwd: workspace,
      resumeSessionId: sessionId,
      quirks: agent.quirks,
      policy,
      mcpServers: async () => [
        { type: 'http', name: TOOLS_SERVER, url: tools.url, headers: [toolHeader] },
        ...servers.given({ node: process.execPath, token }),
      ],
      storedLine: 0,
      record: positions.record,
      signal: new AbortController().signal,
    })
    sessionId = opened.sessionId
    return opened.resumed
  }

  /** Positions outlive the transcript of one test. */
  const positions = memoryTranscript()

  function running(): LocalProcess {
    if (agentProcess === null) throw new Error('no agent runs')
    return agentProcess
  }

  function turn(message: TurnMessage, changes: { signals?: Partial<TurnSignals>; storedLine?: number } = {}) {
    const { journal } = running()
    const never = new AbortController().signal
    return runTurn({
      journal,
      claims,
      sessionId: sessionId ?? '',
      cwd: workspace,
      quirks: agent.quirks,
      policy,
      turn: message,
      storedLine: changes.storedLine ?? positions.storedLine(journal.name),
      record: async (...batch) => {
        await positions.record(...batch)
        await transcript.record(...batch)
      },
      signals: { interrupt: never, detach: never, ...changes.signals },
    })
  }

  function prompt(id: string, steps: ScriptStep[], instructions = ''): TurnMessage {
    const text = `${instructions}${script(id, steps)}`
    const message = { kind: 'prompt', messageId: randomUUID(), text, previousMessageId } as const
    previousMessageId = message.messageId
    return message
  }

  const touch = (name: string): ScriptStep => ({ shell: `echo x > ${name}` })

  describe('that may do as it likes', () => {
    const command = 'echo seen > seen.txt; echo at once; sleep 0.3; echo later'
    const steps = [{ text: 'I look around.', shell: command }, { text: 'All done.' }]
    const message = () => prompt('work', steps, `${skillToldOf(workspace, agent)}\n\n`)

    test('says what it does, runs a command, and ends, its credential exchanged for the real key', async () => {
      expect(await start('allow')).toBe(false)
      const first = message()
      expect(await turn(first)).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      expect(existsSync(join(workspace, 'seen.txt'))).toBe(true)
      expect(transcript.text()).toContain('I look around.')
      expect(transcript.text()).toContain('All done.')
      const kinds = transcript.events.map(({ kind }) => kind)
      expect([kinds[0], kinds.at(-1), kinds.includes('tool_call')]).toEqual(['prompt', 'turn_end', true])
      expect([...new Set(model.requests.map(({ credential }) => credential))]).toEqual([KEY])
      const output = transcript.of('tool_update').findLast(({ status }) => status === 'completed')?.content
      expect(output).toMatchObject([
        { type: 'content', content: { type: 'text', text: expect.stringMatching(/at once\nlater/) } },
      ])

      // Asked for again by someone who has stored nothing, the turn is told again and not run again.
      const told = transcript.events.map(({ kind, data }) => ({ kind, data }))
      transcript = memoryTranscript()
      expect(await turn(first, { storedLine: 0 })).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      const again = transcript.events.map(({ kind, data }) => ({ kind, data }))
      expect(again.slice(-told.length)).toEqual(told)
      expect(model.steps('work')).toEqual([0, 1])
    })

    test('is told the rules of its team and those of its repository, each once, which stays as it is', () => {
      const asked = model.requests.filter(({ scriptId }) => scriptId === 'work')
      const times = (text: string) => asked.map(({ body }) => body.split(text).length - 1)
      expect({ team: times('Rule of the team: say please.'), own: times(OWN_RULE) }).toEqual({
        team: [1, 1],
        own: [1, 1],
      })
      const visible = readdirSync(workspace).filter((name) => !name.startsWith('.'))
      expect(visible.sort()).toEqual(['AGENTS.md', 'CLAUDE.md', 'opencode.json', 'seen.txt'])
    })

    test('finds skills where it is said to look, and tells its model what they are for, and of the run’s own what it says, once', () => {
      const asked = model.requests.filter(({ scriptId }) => scriptId === 'work')
      const times = (text: string) => asked.map(({ body }) => body.split(text).length - 1)
      const told = skills.map(({ name }) => [name, times(`For what ${name} is for.`), times(`What ${name} says.`)])
      expect(told).toEqual(skills.map(({ name }) => [name, [1, 1], name === 'place-0' ? [1, 1] : [0, 0]]))
    })

    test('uses the tools that it was given, by a credential that is in no command line and no file', async () => {
      const steps = [{ tool: { name: 'post_progress', arguments: { message: 'Half way' } } }, { text: 'Told.' }]
      expect(await turn(prompt('tools', steps))).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      const call = { name: 'post_progress', arguments: { message: 'Half way' } }
      expect(tools.calls).toMatchObject([{ ...call, authorization: `Bearer ${TOOL_TOKEN}` }])
      expect((await running().running()).join('\n')).not.toContain(TOOL_TOKEN)
      expect(JSON.stringify(transcript.events)).not.toContain(TOOL_TOKEN)
      expect(spawnSync('grep', ['-rlF', TOOL_TOKEN, directory], { encoding: 'utf8' }).stdout).toBe('')
    })

    test('uses the servers of its run: a command, and over HTTP in both protocols, with values that it does not know', async () => {
      const steps = servers.tools.map((name) => ({ tool: { name, arguments: { say: 'hello' } } }))
      expect(await turn(prompt('servers', [...steps, { text: 'Used.' }]))).toEqual({
        kind: 'ended',
        stopReason: 'end_turn',
      })
      const told = JSON.stringify(transcript.events)
      // What the command was given it has said backwards.
      expect(told).toContain([...servers.value].reverse().join(''))
      expect(servers.calls()).toEqual([
        ['http_tool', { say: 'hello' }, `Bearer ${servers.value}`],
        ['sse_tool', { say: 'hello' }, `Bearer ${servers.value}`],
      ])
      expect(told).not.toContain(servers.value)
      expect((await running().running()).join('\n')).not.toContain(servers.value)
      expect(spawnSync('grep', ['-rlF', servers.value, directory], { encoding: 'utf8' }).stdout).toBe('')
    })

    test('stops in the middle of a sentence when it is told to, and takes the next message', async () => {
      const interrupt = new AbortController()
      const steps = [{ chunks: 20, waitFor: `${agent.name}-sentence` }]
      const outcome = turn(prompt('sentence', steps), { signals: { interrupt: interrupt.signal } })
      await model.waitUntilHeld(`${agent.name}-sentence`)
      interrupt.abort(new Error('people want it'))
      await expect(outcome).rejects.toThrow('people want it')
      expect(transcript.of('turn_end')).toMatchObject([{ stop_reason: 'cancelled' }])

      expect(await turn(prompt('next', [{ text: 'Yes?' }]))).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      expect(transcript.text()).toContain('Yes?')
      expect(model.steps('next')).toEqual([0])
    })

    test('stops in the middle of a command, and the command ends', async () => {
      const interrupt = new AbortController()
      const steps = [{ text: 'I wait.', shell: ENDLESS }, { text: 'Never said.' }]
      const outcome = turn(prompt('endless', steps), { signals: { interrupt: interrupt.signal } })
      const isAtIt = async () => (await running().running()).includes(ENDLESS)
      await until('the command runs', isAtIt)
      interrupt.abort(new Error('people want it'))
      await expect(outcome).rejects.toThrow('people want it')
      await until('the command has ended', async () => !(await isAtIt()))

      expect(await turn(prompt('after', [{ text: 'Here.' }]))).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      expect(transcript.text()).not.toContain('I look around.')
    })
  })

  describe('that has to ask, in a new process over the same session', () => {
    const ask = async (id: string, file: string): Promise<AgentQuestion> => {
      const outcome = await turn(prompt(id, [touch(file), { text: 'Went on.' }]))
      if (outcome.kind !== 'question') throw new Error(`no question but ${JSON.stringify(outcome)}`)
      return outcome.question
    }

    test('knows what was said before, and does not say it again', async () => {
      await running().kill()
      expect(await running().running()).toEqual([])
      expect(await start('ask')).toBe(true)
      expect(await turn(prompt('memory', [{ text: 'I remember.' }]))).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      expect(model.requests.at(-1)?.history).toEqual(expect.arrayContaining(['work', 'next', 'memory']))
      expect(transcript.text()).toContain('I remember.')
      expect(transcript.text()).not.toContain('All done.')
      expect(transcript.of('tool_call')).toEqual([])
    })

    test('is not held up by a question where it only tells something', async () => {
      const steps = [{ tool: { name: 'post_progress', arguments: { message: 'Almost' } } }, { text: 'Told.' }]
      expect(await turn(prompt('telling', steps))).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      expect(tools.calls.at(-1)?.arguments).toEqual({ message: 'Almost' })
    })

    test('acts when a person allows it', async () => {
      const question = await ask('allowed', 'allowed.txt')
      expect(existsSync(join(workspace, 'allowed.txt'))).toBe(false)
      expect(question.options.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['allow_once', 'reject_once']))
      const outcome = await turn({ kind: 'answer', questionId: question.questionId, optionId: 'allow' })
      expect(outcome).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      expect(existsSync(join(workspace, 'allowed.txt'))).toBe(true)
      expect(transcript.text()).toContain('Went on.')
      expect(transcript.of('tool_call').length).toBeGreaterThan(0)
    })

    test('does not act when a person denies it', async () => {
      const question = await ask('denied', 'denied.txt')
      const outcome = await turn({ kind: 'answer', questionId: question.questionId, optionId: 'deny' })
      expect(outcome).toMatchObject({ kind: 'ended' })
      expect(existsSync(join(workspace, 'denied.txt'))).toBe(false)
    })

    test('does not act when the policy denies it', async () => {
      policy = 'deny'
      const outcome = await turn(prompt('forbidden', [touch('forbidden.txt'), { text: 'Went on.' }]))
      expect(outcome).toMatchObject({ kind: 'ended' })
      expect(existsSync(join(workspace, 'forbidden.txt'))).toBe(false)
      expect(transcript.of('answer')).toMatchObject([{ by: 'policy' }])
      policy = 'ask'
    })

    test.runIf(agent.name === 'codex')('asks before each command, whatever it is', async () => {
      policy = 'deny'
      const patch = '*** Begin Patch\n*** Add File: sneaked.txt\n+x\n*** End Patch'
      const commands = ['cat seen.txt', 'ls; touch sneaked.txt', `apply_patch <<'EOF'\n${patch}\nEOF`, 'node -e 1']
      for (const [index, shell] of commands.entries()) {
        transcript = memoryTranscript()
        await turn(prompt(`asked-${index}`, [{ shell }, { text: 'Went on.' }]))
        expect(transcript.of('answer')).toMatchObject([{ by: 'policy' }])
        expect(transcript.of('tool_update').map(({ content }) => content)).not.toContainEqual(expect.anything())
      }
      expect(existsSync(join(workspace, 'sneaked.txt'))).toBe(false)
      policy = 'ask'
    })

    test('goes on when the model fails once', async () => {
      const steps = [{ error: 503, times: 1, text: 'At last.' }]
      expect(await turn(prompt('once', steps))).toEqual({ kind: 'ended', stopReason: 'end_turn' })
      expect(transcript.text()).toContain('At last.')
    })

    test('leaves its question when another message comes', async () => {
      await ask('left', 'left.txt')
      expect(await turn(prompt('instead', [{ text: 'This, then.' }]))).toEqual({
        kind: 'ended',
        stopReason: 'end_turn',
      })
      expect(existsSync(join(workspace, 'left.txt'))).toBe(false)
      expect(transcript.text()).toContain('This, then.')
    })

    test('says plainly that the model does not take its key', async () => {
      const outcome = await turn(prompt('locked', [{ error: 401 }]))
      expect(outcome).toMatchObject({ kind: 'failed', failure: { code: 'model_unauthorized' } })
    })

    test('has cost what the model server counts, but for what it broke off', () => {
      const sum = (numbers: (number | undefined)[]) =>
        numbers.reduce<number>((total, number) => total + (number ?? 0), 0)
      const served = model.requests.filter(({ state }) => state === 'complete').map(({ usage }) => usage)
      const told = counted.filter(({ estimated }) => !estimated).map(({ usage }) => usage)
      expect({
        input: sum(told.map((usage) => usage?.input)),
        output: sum(told.map((usage) => usage?.output)),
      }).toEqual({
        input: sum(served.map((usage) => usage?.inputTokens)),
        output: sum(served.map((usage) => usage?.outputTokens)),
      })
      expect(counted.some(({ estimated, complete }) => estimated && !complete)).toBe(true)
      expect(
        counted.filter(({ status }) => status === 401 || status === 503).every(({ usage }) => usage === null),
      ).toBe(true)
    })

    test('has started no server of tools that its repository names', () => {
      expect(readdirSync(directory).filter((name) => name.startsWith('started-for-'))).toEqual([])
    })

    test('leaves nothing behind when it is ended', async () => {
      await running().kill()
      expect(await running().running()).toEqual([])
      expect(await running().journal.exit()).not.toBe(null)
    })
  })
})
