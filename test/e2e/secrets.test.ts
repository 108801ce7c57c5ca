// Keys and values that are nobody's business are found nowhere but where they are used.
import { randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { workflowId } from '../../workflows/contract.ts'
import { type BothHosts, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { script } from '../support/model-server.ts'
import type { Stack } from '../support/stack.ts'
import { temporalBinary } from '../support/temporal.ts'

let both: BothHosts
let stack: Stack

beforeAll(async () => {
  both = await startBothHosts()
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
      const runId = await stack.start({
        prompt: 'say it',
        config: { ...here, harness: { type: 'command', command: ['sh', '-c', 'echo "$OPENAI_API_KEY"'] } },
      })
      await stack.until(runId, 'SUCCEEDED')
      const credential = String((await stack.events(runId)).find(({ kind }) => kind === 'output')?.data.text)
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
