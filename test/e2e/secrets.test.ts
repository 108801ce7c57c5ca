// Keys and values that are nobody's business are found nowhere but where they are used.
import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { RunEvent } from '../../domain/event.ts'
import { REDACTED } from '../../domain/vault/redaction.ts'
import { createDatabase } from '../../store/database.ts'
import { workflowId } from '../../workflows/contract.ts'
import { type BothHosts, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { script } from '../support/model-server.ts'
import { sampleRepository } from '../support/repository.ts'
import type { Stack } from '../support/stack.ts'
import { temporalBinary } from '../support/temporal.ts'

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

    test("a run's credential is worth nothing after its sandbox", async () => {
      // By its form it would be hidden in the transcript.
      const runId = await stack.start({
        prompt: 'say it',
        config: {
          ...here,
          harness: { type: 'command', command: ['sh', '-c', 'echo "$OPENAI_API_KEY" | sed "s/./& /g"'] },
        },
      })
      await stack.until(runId, 'SUCCEEDED')
      const credential = String(
        (await stack.events(runId)).find(({ kind }) => kind === 'output')?.data.text,
      ).replaceAll(' ', '')
      expect(credential.length).toBeGreaterThan(20)
      const ask = async () => {
        const response = await fetch(`http://127.0.0.1:${stack.env.AMBIENT_GATEWAY_PORT}/openai/chat/completions`, {
          method: 'POST',
          headers: { authorization: `Bearer ${credential}`, 'content-type': 'application/json' },
          body: JSON.stringify({ model: 'any', messages: [{ role: 'user', content: 'hello' }] }),
        })
        await response.body?.cancel()
        return response.status
      }
      await expect.poll(ask, { timeout: 15_000 }).toBe(401)
    })

    test("a workflow's history has neither keys, nor values of the environment, nor the prompt", async () => {
      const { id, runId, planted, finish } = await runAtWork()
      await finish()
      const address = `127.0.0.1:${stack.env.AMBIENT_TEMPORAL_PORT}`
      const { stdout } = await execa(temporalBinary(), [
        'workflow',
        'show',
        '--address',
        address,
        '-w',
        workflowId(runId),
        '--output',
        'json',
      ])
      const history = JSON.stringify(decodePayloads(JSON.parse(stdout)))
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

    test('planted secrets reach the agent, and are found nowhere else: however it prints them, and though it commits them', async () => {
      const planted = await plant()
      const control = `control-${randomUUID()}`
      const runId = await stack.start({
        prompt: `Say ${control}`,
        agent_identity_uid: planted.agent,
        config: {
          ...here,
          environment_id: planted.environment,
          harness: { type: 'command', command: ['/bin/sh', '-c', PRINT_ALL, 'sh', control] },
          secrets: planted.names,
        },
      })
      const isHeld = ({ kind, data }: RunEvent) => kind === 'output' && data.text === 'held'
      await stack.untilEvent(runId, isHeld)
      const needles = planted.values.flatMap(encodingsOf)

      const commandLines = await Promise.all(
        (await readdir('/proc'))
          .filter((name) => /^\d+$/.test(name))
          .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
      )
      expect(found(commandLines.join('\n'), needles)).toEqual([])
      if (host === 'docker') {
        const of = `label=ambient.run=${runId}`
        const containers = (await execa('docker', ['ps', '-aq', '--filter', of])).stdout.split('\n')
        const inspected = (await execa('docker', ['inspect', ...containers])).stdout
        expect(inspected).toContain(runId)
        expect(found(inspected, needles)).toEqual([])
        const images = (await execa('docker', ['inspect', '--format', '{{.Image}}', ...containers])).stdout.split('\n')
        expect(found((await execa('docker', ['image', 'inspect', ...images])).stdout, needles)).toEqual([])
      }

      const { data } = both.places[host]
      await writeFile(join(data, 'runs', runId, 'workspace', 'project', 'release'), '')
      await stack.until(runId, 'SUCCEEDED')
      const events = await stack.events(runId)
      const transcript = JSON.stringify(events)
      // The agent has had every value, and the transcript says what it is not told.
      for (const value of planted.values) expect(transcript).toContain(sha256(value))
      expect(transcript).toContain(control)
      expect(transcript.split(REDACTED).length).toBeGreaterThan(planted.values.length * 10)
      expect(found(transcript, needles)).toEqual([])
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

      const address = `127.0.0.1:${stack.env.AMBIENT_TEMPORAL_PORT}`
      const show = ['workflow', 'show', '--address', address, '-w', workflowId(runId), '--output', 'json']
      const history = JSON.stringify(decodePayloads(JSON.parse((await execa(temporalBinary(), show)).stdout)))
      expect(history).toContain(runId)
      expect(found(history, needles)).toEqual([])

      const rows = await everyRow()
      expect(rows).toContain(control)
      expect(found(rows, needles)).toEqual([])

      // Logs, the files of Postgres and Temporal, snapshots, the directories of runs: all that is on the disk of either host.
      // A host that starts removes what is kept no longer.
      await both.kill('host')
      await expect.poll(() => readdir(join(data, 'runs')), { timeout: 60_000 }).not.toContain(runId)
      const directories = Object.values(both.places).map((place) => place.data)
      expect(await filesWith([control], directories)).not.toEqual([])
      expect(await filesWith(needles, directories)).toEqual([])

      async function plant() {
        const value = (name: string) => `${name} "${randomUUID()}"/ü+'$`
        const make = async <T extends { uid: string }>(route: string, body: object) =>
          (await stack.call<T>('POST', `/api/v1/agent/${route}`, body)).body.uid
        const repository = await sampleRepository()
        onTestFinished(() => repository.remove())
        const inline = value('inline')
        const environment = await make('environments', {
          name: `planted ${randomUUID()}`,
          env: { PLANTED_INLINE: inline },
          repos: [{ url: repository.url, path: 'project' }],
          setup_commands: ['test -n "$PLANTED_INLINE$PLANTED_TEAM"; echo "set-up has $PLANTED_ENVIRONMENT"'],
          prepare: false,
        })
        const agent = await make('identities', { name: `Planted ${randomUUID()}` })
        const own = randomUUID().slice(0, 8).toUpperCase()
        const secrets = [
          { name: 'PLANTED_TEAM', value: value('team') },
          { name: `PLANTED_${own}`, value: value('person'), scope: 'person' },
          {
            name: 'PLANTED_ENVIRONMENT',
            value: value('environment'),
            scope: 'environment',
            environment_id: environment,
          },
          { name: 'PLANTED_AGENT', value: value('agent'), scope: 'agent', agent_uid: agent },
          {
            name: 'PLANTED_FILE',
            value: value('file'),
            kind: 'file',
            path: '~/.planted/token',
            scope: 'agent',
            agent_uid: agent,
          },
        ]
        for (const secret of secrets) await make('secrets', secret)
        onTestFinished(async () => {
          const { body } = await stack.call<{ secrets: { uid: string }[] }>('GET', '/api/v1/agent/secrets')
          for (const { uid } of body.secrets) await stack.call('DELETE', `/api/v1/agent/secrets/${uid}`)
        })
        return {
          environment,
          agent,
          names: secrets.map(({ name }) => name),
          values: [inline, ...secrets.map(({ value: planted }) => planted)],
        }
      }
    })

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

/** Prints all planted values in every way, has them in a file that it commits, says them by a tool, and waits. */
const PRINT_ALL = `
node=$(command -v /opt/ambient/node || command -v node)
test "$(stat -c %a "$PLANTED_FILE")" = 600 && test "$(cat ~/.planted/token)" = "$(cat "$PLANTED_FILE")" || exit 4
exec "$node" -e '
  const { createHash } = require("node:crypto")
  const { existsSync, readFileSync, writeFileSync } = require("node:fs")
  const { execFileSync } = require("node:child_process")
  const control = process.argv[1]
  const names = Object.keys(process.env).filter((name) => name.startsWith("PLANTED_"))
  const values = names.map((name) => name === "PLANTED_FILE" ? readFileSync(process.env[name], "utf8") : process.env[name])
  const quote = (text) => "\\x27" + text.replaceAll("\\x27", "\\x27\\\\\\x27\\x27") + "\\x27"
  const ways = (text) => [
    text, JSON.stringify(text), JSON.stringify(JSON.stringify({ text })), encodeURIComponent(text),
    new URLSearchParams({ text }).toString(), quote(text),
    ...["", "x", "xy"].map((before) => Buffer.from(before + text + "tail").toString("base64")),
    Buffer.from(text).toString("base64url"), Buffer.from(text).toString("hex"),
    Buffer.from(text).toString("hex").toUpperCase(),
    ...(Buffer.from("a line before " + text + " and after it").toString("base64").match(/.{1,76}/g)),
  ]
  console.log(control)
  for (const value of values) {
    console.log("sha", createHash("sha256").update(value).digest("hex"))
    for (const way of ways(value)) console.log(way)
    console.error("to stderr", value)
  }
  const all = [control, ...values.flatMap(ways)].join("\\n")
  writeFileSync("leak.txt", all)
  execFileSync("git", ["add", "leak.txt"])
  execFileSync("git", ["commit", "-q", "-m", "Keep " + values[0]])
  const say = (name, args) => fetch(process.env.AMBIENT_MCP_URL, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json", authorization: "Bearer " + process.env.AMBIENT_MCP_TOKEN },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: args } }),
  }).then(async (answer) => console.log("tool", answer.status, await answer.text()))
  say("post_progress", { message: "I have " + values.join(" and ") }).then(() => {
    console.log("held")
    const timer = setInterval(() => existsSync("release") && clearInterval(timer), 20)
  })
' "$1"
`

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** Of one value, what is looked for: what of its encodings is the same wherever it stands. */
function encodingsOf(value: string): string[] {
  const base64 = [0, 1, 2].map((before) => {
    const text = Buffer.from('x'.repeat(before) + value).toString('base64')
    return text.slice(4, -4).slice(0, 40)
  })
  const hex = Buffer.from(value).toString('hex')
  return [
    ...[value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value), hex, hex.toUpperCase(), ...base64],
    ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
    // The part of it that none else has, as no encoding of texts changes it.
    ...(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(value)?.slice(0, 1) ?? []),
  ]
}

const found = (text: string, needles: readonly string[]) => needles.filter((needle) => text.includes(needle))

async function filesWith(needles: readonly string[], directories: readonly string[]): Promise<string[]> {
  const input = needles.join('\n')
  const { stdout } = await execa('grep', ['-rlaF', '-f', '-', ...directories], { input, reject: false })
  return stdout.split('\n').filter((line) => line !== '')
}

/** Of every table; bytes in hexadecimal. */
async function everyRow(): Promise<string> {
  const password = (await readFile(join(stack.data, 'postgres', 'password'), 'utf8')).trim()
  const at = `127.0.0.1:${stack.env.AMBIENT_POSTGRES_PORT}`
  const { db, close } = createDatabase(`postgres://ambient:${password}@${at}/ambient`)
  try {
    const tables = await sql<{ name: string }>`
      select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public'
    `.execute(db)
    const rows: string[] = []
    for (const { name } of tables.rows) {
      const found = await sql<{ row: string }>`select each::text as row from ${sql.raw(name)} as each`.execute(db)
      rows.push(...found.rows.map(({ row }) => row.replaceAll('""', '"').replaceAll('\\\\', '\\')))
    }
    return rows.join('\n')
  } finally {
    await close()
  }
}

async function processesWith(value: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    if ((await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')).includes(value)) found.push(pid)
  }
  return found
}

/** Payloads are base64 in a history's JSON; what they hold is what is looked at. */
function decodePayloads(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decodePayloads)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) =>
      name === 'data' && typeof inner === 'string'
        ? [name, Buffer.from(inner, 'base64').toString('utf8')]
        : [name, decodePayloads(inner)],
    ),
  )
}
