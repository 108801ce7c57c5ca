// Keys and values that are nobody's business are found nowhere but where they are used.
import { randomUUID } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { RunEvent } from '../../domain/event.ts'
import { REDACTED } from '../../domain/vault/redaction.ts'
import {
  type BothHosts,
  hostKinds,
  type JoinedHost,
  joinHost,
  type Place,
  poolOf,
  startBothHosts,
} from '../support/both-hosts.ts'
import { AGENT_CACHE } from '../support/caches.ts'
import { script } from '../support/model-server.ts'
import {
  encodingsOf,
  everyRow,
  filesWith,
  found,
  foundInImage,
  historyOf,
  newestCheckpoint,
  PRINT_ALL,
  plant,
  reversed,
  sha256,
} from '../support/planted.ts'
import type { Stack } from '../support/stack.ts'

const PLANTED =
  'planted secrets reach the agent, and are found nowhere else: however it prints them, though it commits them, and though it began with what a set-up that has them has prepared'

let both: BothHosts
let stack: Stack

beforeAll(async () => {
  // So that nothing of a run stays on its host.
  both = await startBothHosts({ AMBIENT_WORKSPACE_HOURS: '0' })
  stack = both.stack
})

afterAll(() => both?.stop())

for (const host of hostKinds) {
  describe(`on the ${host} host`, () => {
    const here = { worker_host: poolOf[host], idle_timeout_minutes: 0 }

    /** A run that is in the middle of a turn, with a value planted in its environment. */
    async function runAtWork() {
      const id = randomUUID()
      const planted = `planted-${randomUUID()}`
      const runId = await stack.start({
        prompt: script(id, [{ chunks: 4, waitFor: id }]),
        config: { ...here, harness: { type: 'codex' }, permission_policy: 'allow' },
        environment: { env: { DEPLOY_TOKEN: planted }, setup_commands: ['test -n "$DEPLOY_TOKEN"'] },
      })
      await stack.model.waitUntilHeld(id)
      const finish = async () => {
        stack.model.release(id)
        await stack.until(runId, 'SUCCEEDED')
      }
      return { id, runId, planted, finish }
    }

    const realKeys = () => [stack.env.OPENAI_API_KEY, stack.env.ANTHROPIC_API_KEY, stack.env.GEMINI_API_KEY].map(String)

    test('the agent reaches its model through the gateway, which puts the real key in', async () => {
      const { id, finish } = await runAtWork()
      const seen = await stack.model.waitForRequest(({ scriptId }) => scriptId === id)
      expect(seen.credential).toBe(stack.env.OPENAI_API_KEY)
      await finish()
    })

    test("a run's credentials are worth nothing after its sandbox: not for models, nor for tools, nor for MCP servers", async () => {
      // By their form they would be hidden in the transcript.
      const tell = 'echo "$OPENAI_API_KEY:$AMBIENT_MCP_TOKEN" | sed "s/./& /g"'
      const runId = await stack.start({
        prompt: 'say it',
        config: { ...here, harness: { type: 'command', command: ['sh', '-c', tell] } },
      })
      await stack.until(runId, 'SUCCEEDED')
      const told = (await stack.events(runId)).find(({ kind }) => kind === 'output')?.data.text
      const [model = '', tools = ''] = String(told).replaceAll(' ', '').split(':')
      expect([model, tools]).toEqual([expect.stringMatching(credentials), expect.stringMatching(credentials)])
      const ask = async (path: string, credential: string, body: object) => {
        const response = await fetch(`http://127.0.0.1:${stack.env.AMBIENT_GATEWAY_PORT}${path}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${credential}`, 'content-type': 'application/json' },
          body: JSON.stringify(body),
        })
        return `${response.status} ${await response.text()}`
      }
      const refused = expect.stringMatching(/^401 .*good only while its run's sandbox is held/)
      const call = { model: 'any', messages: [{ role: 'user', content: 'hello' }] }
      await expect.poll(() => ask('/openai/chat/completions', model, call)).toEqual(refused)
      const progress = { name: 'post_progress', arguments: { message: 'Late' } }
      const use = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: progress }
      await expect.poll(() => ask('/mcp', tools, use)).toEqual(refused)
      expect(await ask('/mcp-servers/any', tools, use)).toEqual(refused)
    })

    test("a workflow's history has neither keys, nor values of the environment, nor the prompt", async () => {
      const { id, runId, planted, finish } = await runAtWork()
      await finish()
      const history = await historyOf(stack, runId)
      expect(history).toContain(runId)
      for (const secret of [...realKeys(), planted, 'SCRIPT64', id]) expect(history).not.toContain(secret)
      expect(history).not.toMatch(credentials)
    })

    test('the process list, the transcript, the logs and docker inspect have none of them', async () => {
      const { runId, planted, finish } = await runAtWork()
      const commandLines = await Promise.all(
        (await readdir('/proc'))
          .filter((name) => /^\d+$/.test(name))
          .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
      )
      const containers =
        host === 'docker'
          ? (await execa('docker', ['ps', '-q', '--filter', `label=ambient.run=${runId}`])).stdout.split('\n')
          : []
      const inspected = containers.length > 0 ? (await execa('docker', ['inspect', ...containers])).stdout : ''
      if (host === 'docker') expect(inspected).toContain(runId)
      await finish()
      const logs = await Promise.all(
        hostKinds.map(async (kind) => {
          const directory = join(both.places[kind].data, 'logs')
          return Promise.all((await readdir(directory)).map((name) => readFile(join(directory, name), 'utf8')))
        }),
      )
      expect(logs.flat().length).toBeGreaterThan(5)
      const transcript = JSON.stringify(await stack.events(runId))
      const item = JSON.stringify(await stack.item(runId))
      for (const secret of [...realKeys(), planted]) {
        for (const place of [commandLines.join('\n'), inspected, logs.flat().join('\n'), transcript, item])
          expect(place).not.toContain(secret)
      }
      for (const place of [commandLines.join('\n'), inspected, logs.join('\n'), transcript, item])
        expect(place).not.toMatch(credentials)
    })

    test('real keys are in no process of a sandbox, and in none of ours but the server and the gateway', async () => {
      const { runId, finish } = await runAtWork()
      for (const pid of await processesWith(stack.env.OPENAI_API_KEY ?? '')) {
        const commandLine = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0').join(' ')
        const part = /main\.ts (\w+)/.exec(commandLine)?.[1]
        expect(['start', 'server', 'gateway', undefined]).toContain(part)
        if (part === undefined) expect(commandLine).not.toMatch(new RegExp(`codex|${runId}`))
      }
      await finish()
    })

    test(PLANTED, () => plantAndLook(both.places[host], () => both.kill('host')))

    test('the API is closed without its key', async () => {
      for (const headers of [{}, { authorization: 'Bearer wrong' }]) {
        const response = await fetch(`${stack.url}/api/v1/agent/runs`, { headers })
        expect(response.status).toBe(401)
      }
    })
  })
}

/** What a run's sandbox was given for the model, and for its agent's tools. */
const credentials = /am[bt]_[\w-]{40}/

describe('on the direct host under bubblewrap', () => {
  let scratch: string
  let wrapped: JoinedHost

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'ambient-wrapped-'))
    const env = { AMBIENT_WORKSPACE_HOURS: '0', AMBIENT_DIRECT_SANDBOX: 'bwrap' }
    wrapped = await joinHost(stack, { kind: 'direct', pool: 'wrapped', agents: AGENT_CACHE, data: scratch, env })
  })
  afterAll(async () => {
    await wrapped?.stop()
    await rm(scratch, { recursive: true, force: true })
  })

  test(PLANTED, () => plantAndLook(wrapped.place, () => wrapped.kill()))
})

async function plantAndLook({ kind, pool, data }: Place, killHost: () => Promise<void>): Promise<void> {
  const control = `control-${randomUUID()}`
  const planted = await plant(stack, { control, image: kind === 'docker' })
  const needles = planted.values.flatMap(encodingsOf)
  const runId = await stack.start({
    prompt: `Say ${control}`,
    agent_identity_uid: planted.agent,
    config: {
      worker_host: pool,
      idle_timeout_minutes: 0,
      environment_id: planted.environment,
      harness: { type: 'command', command: ['/bin/sh', '-c', PRINT_ALL, 'sh', control] },
      secrets: planted.names,
    },
  })
  const isHeld = ({ kind: of, data: said }: RunEvent) => of === 'output' && said.text === 'held'
  await stack.untilEvent(runId, isHeld)

  const commandLines = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  )
  expect(found(commandLines.join('\n'), needles)).toEqual([])
  if (kind === 'docker') {
    const of = `label=ambient.run=${runId}`
    const containers = (await execa('docker', ['ps', '-aq', '--filter', of])).stdout.split('\n')
    const inspected = (await execa('docker', ['inspect', ...containers])).stdout
    expect(inspected).toContain(runId)
    expect(found(inspected, needles)).toEqual([])
    const [image = ''] = (await execa('docker', ['inspect', '--format', '{{.Image}}', ...containers])).stdout.split(
      '\n',
    )
    onTestFinished(async () => void (await execa('docker', ['rmi', image], { reject: false })))
    const step = reversed(control)
    const { told, saved } = await foundInImage(image, [...needles, step, control])
    expect(told).toEqual([step])
    expect(saved.toSorted()).toEqual([step, control].toSorted())
  }

  await writeFile(join(data, 'runs', runId, 'workspace', 'project', 'release'), '')
  await stack.until(runId, 'SUCCEEDED')
  const events = await stack.events(runId)
  const transcript = JSON.stringify(events)
  // The agent has had every value, and the transcript says what it is not told.
  for (const value of planted.values) expect(transcript).toContain(sha256(value))
  expect(transcript).toContain(control)
  expect(transcript.split(REDACTED).length).toBeGreaterThan(planted.values.length * 10)
  expect(found(transcript, needles)).toEqual([])
  // By the gateway to the server, which hides them as the host does.
  const told = events.find(({ kind: of }) => of === 'progress')?.data.message
  expect(told).toBe(`I have ${planted.values.map(() => REDACTED).join(' and ')}`)
  const streamed: RunEvent[] = []
  for await (const event of stack.stream(runId)) {
    streamed.push(event)
    if (event.sequence === events.at(-1)?.sequence) break
  }
  expect(found(JSON.stringify(streamed), needles)).toEqual([])

  const item = await stack.item(runId)
  expect(item.secrets.map(({ name }) => name).sort()).toEqual([...planted.names].sort())
  const path = `/api/v1/agent/runs/${runId}`
  const shown = await Promise.all(
    ['', '/diff', '/events', '/checkpoints'].map((rest) => stack.call('GET', `${path}${rest}`)),
  )
  const diff = String(shown[1]?.body)
  expect(diff).toContain('leak.txt')
  expect(diff).toContain(control)
  expect(found(JSON.stringify(shown.map(({ body }) => body)), needles)).toEqual([])

  const history = await historyOf(stack, runId)
  expect(history).toContain(runId)
  expect(found(history, needles)).toEqual([])

  const rows = await everyRow(stack)
  expect(rows).toContain(control)
  expect(found(rows, needles)).toEqual([])

  // Its files are in its checkpoint as they are, values and all, which is sealed.
  const { stored, opened } = await newestCheckpoint(stack, runId)
  expect(found(opened, planted.values)).toEqual(planted.values)
  expect(stored.subarray(0, GZIP.length)).not.toEqual(GZIP)

  // The run began with a snapshot, whose set-up has had values and left none.
  expect(transcript).toContain('Started from the prepared environment')
  expect(await filesWith([planted.used], [join(data, 'snapshots')])).not.toEqual([])

  // Logs, the files of Postgres and Temporal, snapshots, the directories of runs: all that is on the disk of any host.
  // A host that starts removes what is kept no longer.
  await killHost()
  await expect.poll(() => readdir(join(data, 'runs')), { timeout: 60_000 }).not.toContain(runId)
  const directories = new Set([...Object.values(both.places).map((place) => place.data), data])
  expect(await filesWith([control], [...directories])).not.toEqual([])
  expect(await filesWith(needles, [...directories])).toEqual([])
}

/** By which what is compressed begins. */
const GZIP = Buffer.from([0x1f, 0x8b, 0x08])

async function processesWith(value: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    if ((await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')).includes(value)) found.push(pid)
  }
  return found
}
