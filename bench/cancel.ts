// From the request to cancel a run to the end of its last process: a grandchild that left its session and ignores SIGTERM.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFile, readlink } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import Docker from 'dockerode'
import { loadConfig } from '../config.ts'
import { isAlive, kill, markedProcesses, type ProcessRef, processStat } from '../environments/processes.ts'
import { script } from '../test/support/model-server.ts'
import type { Stack } from '../test/support/stack.ts'
import { startAmbient } from './ambient.ts'
import { allProcesses } from './processes.ts'
import { heading, median, print, spread } from './report.ts'
import { startCommand } from './run-lines.ts'

const TARGET_MS = 5_000
const SAMPLES = 5
const POLL_MS = 5
const LIMIT_MS = 60_000

/** Both sleep for so long, and by that are known. */
const SLEEP = 'sleep 86399'
const STUBBORN = `setsid sh -c 'trap "" TERM; ${SLEEP}; :' & ${SLEEP}; :`
const COMMAND = ['sh', '-c', STUBBORN]

/** Processes that carry the mark as their AMBIENT_RUN, and what ends them. */
interface Started {
  mark: string
  end(): Promise<unknown>
}

type Way = () => Promise<Started>

export async function measureCancel(host: Stack['hostKind'], cleanUp: AsyncDisposableStack): Promise<void> {
  const stack = await startAmbient(host, cleanUp)
  const isDirect = host === 'direct'
  const ways = {
    bare: isDirect ? bareProcess : bareContainer,
    command: async () => ambientRun(stack, await startCommand(stack, COMMAND)),
    tool: async () => ambientRun(stack, await startTool(stack)),
  }
  const times: Record<keyof typeof ways, number[]> = { bare: [], command: [], tool: [] }
  for (let round = 0; round < SAMPLES; round++) {
    for (const name of ['bare', 'command', 'tool'] as const) times[name].push(await timeOfEnd(ways[name], cleanUp))
  }

  heading(`A request to cancel to the end of the last process of the run, ${host} host`)
  const bareName = isDirect ? 'each process is killed by its number' : 'the same in a bare container, docker kill'
  const line = (name: string, values: number[]) =>
    print({ name, value: median(values), unit: 'ms', target: null, note: spread(values) })
  line(`baseline: ${bareName}`, times.bare)
  for (const [name, values] of [
    ['a command', times.command],
    ['an agent (Codex) whose tool runs it', times.tool],
  ] as const) {
    line(`${name}: median`, values)
    print({ name: `${name}: longest`, value: Math.max(...values), unit: 'ms', target: TARGET_MS })
  }
}

/** In milliseconds. */
async function timeOfEnd(start: Way, cleanUp: AsyncDisposableStack): Promise<number> {
  const { mark, end } = await start()
  cleanUp.defer(() => killMarked(mark))
  const processes = await untilAtWork(mark)
  const began = performance.now()
  const ended = end()
  await untilNone(mark, processes)
  const time = performance.now() - began
  await ended
  return time
}

const ambientRun = ({ call, until }: Stack, runId: string): Started => ({
  mark: runId,
  async end() {
    const { status } = await call('POST', `/api/v1/agent/runs/${runId}/cancel`)
    if (status !== 200) throw new Error(`the cancel of run ${runId} was answered with ${status}`)
    await until(runId, 'CANCELLED')
  },
})

const startTool = (stack: Stack): Promise<string> =>
  stack.start({
    prompt: script(randomUUID(), [{ text: 'I begin.', shell: STUBBORN }, { text: 'Never said.' }]),
    config: { harness: { type: 'codex' }, permission_policy: 'allow', idle_timeout_minutes: 0 },
  })

async function bareProcess(): Promise<Started> {
  const mark = randomUUID()
  const [program = '', ...args] = COMMAND
  spawn(program, args, { env: { PATH: process.env.PATH, AMBIENT_RUN: mark }, stdio: 'ignore', detached: true }).unref()
  return { mark, end: () => killMarked(mark) }
}

async function bareContainer(): Promise<Started> {
  const mark = randomUUID()
  const container = await new Docker().createContainer({
    Image: loadConfig({}).AMBIENT_IMAGE,
    Entrypoint: COMMAND,
    Cmd: [],
    Env: [`AMBIENT_RUN=${mark}`],
    HostConfig: { Init: true, AutoRemove: true, NetworkMode: 'none' },
  })
  await container.start()
  return { mark, end: () => container.kill() }
}

async function killMarked(mark: string): Promise<void> {
  for (const pid of (await markedProcesses()).get(mark) ?? []) kill(pid, 'SIGKILL')
}

/** All processes that have to end, once both sleep: the trap is set by then. */
async function untilAtWork(mark: string): Promise<ProcessRef[]> {
  const deadline = performance.now() + LIMIT_MS
  while (performance.now() < deadline) {
    const marked = (await markedProcesses()).get(mark) ?? []
    const commands = await Promise.all(marked.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
    if (commands.filter((command) => command === `${SLEEP.replace(' ', '\0')}\0`).length === 2)
      return withNamespaces(marked)
    await delay(POLL_MS)
  }
  throw new Error(`what was to be cancelled did not begin within ${LIMIT_MS / 1000} s`)
}

/** With everything else in PID namespaces that are the run's own. */
async function withNamespaces(marked: readonly number[]): Promise<ProcessRef[]> {
  const namespaceOf = (pid: number | 'self') => readlink(`/proc/${pid}/ns/pid`).catch(() => null) // It has ended.
  const ours = await namespaceOf('self')
  const theirs = new Set(await Promise.all(marked.map(namespaceOf)))
  const found: ProcessRef[] = []
  for (const pid of await allProcesses()) {
    const namespace = await namespaceOf(pid)
    const isInTheirs = namespace !== null && namespace !== ours && theirs.has(namespace)
    const stat = isInTheirs || marked.includes(pid) ? processStat(pid) : null
    if (stat !== null) found.push({ pid, since: stat.since })
  }
  return found
}

async function untilNone(mark: string, processes: readonly ProcessRef[]): Promise<void> {
  const deadline = performance.now() + LIMIT_MS
  for (;;) {
    const alive = processes.map(isAlive)
    // Others may have come since.
    if (!alive.includes(true) && !(await markedProcesses()).has(mark)) return
    if (performance.now() > deadline) throw new Error(`processes of run ${mark} are there after ${LIMIT_MS / 1000} s`)
    await delay(POLL_MS)
  }
}
