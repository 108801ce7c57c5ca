// `npm test`: prepares what the tests need on this machine, runs them all, and closes with one line of counts.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, statfs } from 'node:fs/promises'
import { freemem, tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { agents } from '../agents/index.ts'
import { installAgent } from '../agents/install.ts'
import { dataPaths, loadConfig, root } from '../config.ts'
import { AGENT_CACHE } from '../test/support/caches.ts'
import { hasGvisor } from '../test/support/gvisor.ts'
import { PYTHON_REQUIREMENTS, PYTHON_SDK_CACHE } from '../test/support/python-sdk.ts'
import { TIME_SKIPPING_CACHE } from '../test/support/temporal.ts'
import { findTemporal } from '../workers/start/temporal-binary.ts'
import { preparePythonSdk } from './python-sdk.ts'
import { findTimeSkippingServer } from './time-skipping-server.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

const Report = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numFailedTestSuites: z.number(),
})

async function run(command: string, args: string[], env: Record<string, string> = {}): Promise<number> {
  const child = spawn(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? 1))
  })
}

const config = loadConfig({})
const temporal = await findTemporal({ paths: dataPaths(config), say })
await findTimeSkippingServer({ directory: TIME_SKIPPING_CACHE, say })
await preparePythonSdk({ directory: PYTHON_SDK_CACHE, requirements: PYTHON_REQUIREMENTS, say })
const hasDocker = (await run('docker', ['info', '--format', '{{.ServerVersion}}']).catch(() => 1)) === 0
if (!hasDocker) {
  say('The tests need a Docker daemon, and none answers. On Debian: apt-get install docker.io; dockerd &')
  process.exit(1)
}
if (!(await hasGvisor())) say('NO GVISOR in this Docker daemon, so its tests are skipped: see docs/isolation.md.')
if ((await run('sh', ['environments/base-image.sh'])) !== 0) process.exit(1)
// Before the tests, and one after another: they are to wait for no registry, and npm does not like company.
for (const agent of Object.values(agents)) {
  if (agent.protocol === 'acp') await installAgent(agent, { directory: AGENT_CACHE, onProgress: say })
}

const TMPFS = 0x01021994
/** For the tests' files and processes, with much to spare. */
const ROOM_BYTES = 8 * 1024 ** 3

/** In memory where there is room: the tests make and remove hundreds of thousands of small files. */
async function makeScratch(): Promise<string> {
  const memory = '/dev/shm'
  const found = await statfs(memory).catch(() => null)
  const fits = found?.type === TMPFS && found.bavail * found.bsize > ROOM_BYTES && freemem() > ROOM_BYTES
  const directory = await mkdtemp(join(fits ? memory : tmpdir(), 'ambient-'))
  // As /tmp is: other users' processes have their files there, too.
  await chmod(directory, 0o1777)
  return directory
}

const scratch = await makeScratch()
// The tests hear it, too, and end; what they had made is removed then.
process.on('SIGINT', () => {})
const reportPath = join(scratch, 'report.json')
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
const args = [
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${reportPath}`,
  ...process.argv.slice(2),
]
const code = await run(process.execPath, [vitest, ...args], { TEMPORAL_BIN: temporal, TMPDIR: scratch })
const text = existsSync(reportPath) ? await readFile(reportPath, 'utf8') : null
await rm(scratch, { recursive: true, force: true })
if (text === null) {
  say('0 passed, 1 failed')
  process.exit(1)
}
const report = Report.parse(JSON.parse(text))
// A file that does not load has no failed test of its own, and must not look like success.
const failed = Math.max(report.numFailedTests, code === 0 ? 0 : 1)
say(
  `${report.numPassedTests} passed, ${failed} failed${report.numPendingTests > 0 ? `, ${report.numPendingTests} skipped` : ''}`,
)
process.exit(code === 0 && failed === 0 ? 0 : 1)
