// One command brings everything up, over whatever was left; one signal takes it down.
import { randomUUID } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../../config.ts'
import { script } from '../support/model-server.ts'
import { type Stack, startStack } from '../support/stack.ts'

describe('ambient start', () => {
  let stack: Stack

  beforeAll(async () => {
    stack = await startStack({ host: 'direct' })
  })

  afterAll(() => stack?.stop())

  /** A run whose agent is in the middle of a turn. */
  async function runAtWork() {
    const id = randomUUID()
    const runId = await stack.start({
      prompt: script(id, [{ text: 'Some words, in pieces.', chunks: 8, waitFor: id }]),
      config: { harness: { type: 'codex' }, permission_policy: 'allow', idle_timeout_minutes: 0 },
    })
    await stack.model.waitUntilHeld(id)
    return { id, runId }
  }

  test('says where everything is, and what to type next', async () => {
    const log = await stack.log()
    for (const told of [
      stack.url,
      join(stack.data, 'admin-key'),
      `:${stack.env.AMBIENT_TEMPORAL_UI_PORT}`,
      'ambient run',
    ]) {
      expect(log).toContain(told)
    }
  })

  test('keeps its keys where only its user reads them', async () => {
    for (const name of ['admin-key', 'worker-key']) {
      expect((await stat(join(stack.data, name))).mode & 0o777).toBe(0o600)
    }
  })

  test('says of every part whether it is ready', async () => {
    const { status, body } = await stack.call('GET', '/healthz')
    expect(status).toBe(200)
    expect(body).toMatchObject({
      checks: { database: 'ok', temporal: 'ok', orchestrator: 'ok', host: 'ok', gateway: 'ok' },
    })
  })

  test('tells within seconds of a worker and a host that hang, and that they are back', async () => {
    const checks = async () => (await stack.call<{ checks: Record<string, string> }>('GET', '/healthz')).body.checks
    const hung = await Promise.all([stack.pid('worker'), stack.pid('host')])
    for (const pid of hung) process.kill(pid, 'SIGSTOP')
    try {
      await expect.poll(checks, { timeout: 25_000, interval: 250 }).toMatchObject({
        orchestrator: expect.stringMatching(/^no orchestrator worker/),
        host: expect.stringMatching(/^no host/),
      })
    } finally {
      for (const pid of hung) process.kill(pid, 'SIGCONT')
    }
    await expect.poll(checks, { interval: 250 }).toMatchObject({ orchestrator: 'ok', host: 'ok' })
  })

  test('refuses to run twice on one data directory, and says so', async () => {
    const second = await execa(join(root, 'bin', 'ambient'), ['start'], { env: stack.env, reject: false })
    expect(second.exitCode).not.toBe(0)
    expect(second.stderr + second.stdout).toMatch(/already/i)
    expect((await stack.call('GET', '/healthz')).status).toBe(200)
  })

  test('names a setting that does not fit', async () => {
    const wrong = await execa(join(root, 'bin', 'ambient'), ['start'], {
      env: { ...stack.env, AMBIENT_PORT: 'eighty' },
      reject: false,
    })
    expect(wrong.exitCode).not.toBe(0)
    expect(wrong.stderr).toContain('AMBIENT_PORT')
  })

  test('starts over what a killed predecessor left, and the run that was at work goes on', async () => {
    const { id, runId } = await runAtWork()
    await stack.end('SIGKILL')
    await stack.startAgain()
    stack.model.release(id)
    await stack.until(runId, 'SUCCEEDED')
    // The gateway was started again, too: an answer that was streaming is asked for once more.
    expect(await textOf(runId)).toContain('Some words, in pieces.')
  })

  test('on Ctrl-C stops everything of its own, and the next start takes up the agents that were at work', async () => {
    const { id, runId } = await runAtWork()
    await stack.end('SIGINT')
    expect(await processesOf(stack.data)).toEqual([])
    await stack.startAgain()
    stack.model.release(id)
    await stack.until(runId, 'SUCCEEDED')
    expect(await textOf(runId)).toContain('Some words, in pieces.')
  })

  async function textOf(runId: string): Promise<string> {
    const messages = (await stack.events(runId)).filter(({ kind }) => kind === 'message')
    return messages.map(({ data }) => data.text).join('')
  }
})

/** Parts, Postgres and Temporal of a data directory: everything that names it, but the agents. */
async function processesOf(data: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    const commandLine = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')
    if (environment.includes('AMBIENT_RUN=')) continue
    if (environment.includes(`AMBIENT_DATA=${data}\0`) || commandLine.includes(`${data}/postgres`))
      found.push(commandLine)
  }
  return found
}
