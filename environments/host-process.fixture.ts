// A process of its own over a host's directory, for tests that kill it.
import { pino } from 'pino'
import { createDirectHost } from './direct/host.ts'
import { createDockerHost } from './docker/host.ts'

const [kind, runsDirectory = '', action, runId = '', cwd = '/'] = process.argv.slice(2)
const common = { runsDirectory, nodePath: process.execPath, log: pino({ level: 'silent' }) }
const host =
  kind !== 'docker'
    ? await createDirectHost({ ...common, sandbox: kind === 'bubblewrap' ? 'bwrap' : 'none' })
    : await createDockerHost({ ...common, image: 'unused', limits: { memoryMb: 512, cpus: 2, pids: 256 } })
if (action === 'look') {
  // A whole run, told as it goes: the script and its arguments are the rest of the command line.
  const [script = '', ...args] = process.argv.slice(6)
  const opened = await host.open({ runId, generation: 1, image: null, toolkit: null })
  const job = await opened.job({ id: 'look', command: ['/bin/sh', '-c', script, 'sh', ...args], env: {}, cwd: '/' })
  for await (const lines of job.read(0, AbortSignal.timeout(20_000))) {
    for (const { text } of lines) process.stdout.write(`${text}\n`)
  }
  await host.remove(runId)
  process.exit(0)
}
const sandbox = await host.find(runId, 1)
if (sandbox === null) throw new Error('the test has not opened the sandbox')

if (action === 'write-torn') {
  const command = ['/bin/sh', '-c', 'while IFS= read -r line; do [ -n "$line" ] && printf "got %s\\n" "$line"; done']
  const journal = await sandbox.startAgent({ command, env: {}, cwd })
  await journal.write('before\n')
  await journal.write('to')
} else {
  const command = ['/bin/sh', '-c', 'echo begun; until [ -e go ]; do sleep 0.05; done; echo ended; exit 5']
  const job = await sandbox.job({ id: 'slow', command, env: {}, cwd })
  for await (const lines of job.read(0, AbortSignal.timeout(20_000))) if (lines.length > 0) break
}
process.stdout.write('done\n')
// Lives on until it is killed.
setInterval(() => {}, 60_000)
