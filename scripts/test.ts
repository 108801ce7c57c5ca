// `npm test`: prepares what the tests need on this machine, runs them all, and closes with one line of counts.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { agents } from '../agents/index.ts'
import { installAgent } from '../agents/install.ts'
import { dataPaths, loadConfig, root } from '../config.ts'
import { AGENT_CACHE } from '../test/support/stack.ts'
import { TIME_SKIPPING_CACHE } from '../test/support/temporal.ts'
import { findTemporal } from '../workers/start/temporal-binary.ts'
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
const hasDocker = (await run('docker', ['info', '--format', '{{.ServerVersion}}']).catch(() => 1)) === 0
if (!hasDocker) {
  say('The tests need a Docker daemon, and none answers. On Debian: apt-get install docker.io; dockerd &')
  process.exit(1)
}
if ((await run('sh', ['environments/base-image.sh'])) !== 0) process.exit(1)
// Before the tests, and one after another: they are to wait for no registry, and npm does not like company.
for (const agent of Object.values(agents)) {
  if (agent.protocol === 'acp') await installAgent(agent, { directory: AGENT_CACHE, onProgress: say })
}

const scratch = await mkdtemp(join(tmpdir(), 'ambient-test-'))
const reportPath = join(scratch, 'report.json')
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
const args = [
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${reportPath}`,
  ...process.argv.slice(2),
]
const code = await run(process.execPath, [vitest, ...args], { TEMPORAL_BIN: temporal })
if (!existsSync(reportPath)) {
  say('0 passed, 1 failed')
  process.exit(1)
}
const report = Report.parse(JSON.parse(await readFile(reportPath, 'utf8')))
await rm(scratch, { recursive: true, force: true })
// A file that does not load has no failed test of its own, and must not look like success.
const failed = Math.max(report.numFailedTests, code === 0 ? 0 : 1)
say(
  `${report.numPassedTests} passed, ${failed} failed${report.numPendingTests > 0 ? `, ${report.numPendingTests} skipped` : ''}`,
)
process.exit(code === 0 && failed === 0 ? 0 : 1)
