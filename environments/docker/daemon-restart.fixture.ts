// A Docker daemon of its own with containers in it, restarted under them. Runs in a network of its own, where it is in nobody's way.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import Docker from 'dockerode'
import { pino } from 'pino'
import { containerName } from './container.ts'
import { createDockerHost } from './host.ts'
import { joined } from './network.ts'

const [directory = '', image = '', restart = ''] = process.argv.slice(2)
const socketPath = join(directory, 'docker.sock')
const docker = new Docker({ socketPath })

execFileSync('ip', ['link', 'set', 'lo', 'up'])
let daemon = await startDaemon()
try {
  for await (const _ of await docker.loadImage(image));
  const host = await createDockerHost({
    runsDirectory: join(directory, 'runs'),
    nodePath: process.execPath,
    image: 'ambient-base:latest',
    limits: { memoryMb: 512, cpus: 2, pids: 256 },
    spareNetworks: 1,
    log: pino({ level: 'silent' }),
    docker,
  })
  // In a network that was made ahead, as most are.
  const [first, runId] = [randomUUID(), randomUUID()]
  await host.open({ runId: first, generation: 1, image: null, toolkit: null })
  while ((await docker.listContainers()).length < 2) await pause(50)
  const sandbox = await host.open({ runId, generation: 1, image: null, toolkit: null })
  const { HostConfig } = await docker.getContainer(containerName(runId, 1)).inspect()
  const script = 'echo begun; until [ -e /workspace/go ]; do sleep 0.1; done; echo ended; exit 5'
  const job = await sandbox.job({ id: 'slow', command: ['/bin/sh', '-c', script], env: {}, cwd: '/' })
  const command = ['/bin/sh', '-c', 'while IFS= read -r line; do echo "got $line"; done']
  const agent = await sandbox.startAgent({ command, env: {}, cwd: '/' })
  await agent.write('before\n')

  daemon.kill('SIGTERM')
  await once(daemon, 'exit')
  daemon = await startDaemon()

  const atOnce = {
    job: await job.exit(),
    agent: await agent.exit(),
    running: await sandbox.isRunning(),
    joined: joined(HostConfig.NetworkMode) !== null,
    callsFrom: await sandbox.callsFrom(),
  }
  const said: string[] = []
  if (restart === 'live') {
    await agent.write('after\n')
    const go = await sandbox.job({ id: 'go', command: ['/bin/touch', '/workspace/go'], env: {}, cwd: '/' })
    for await (const _ of go.read(0, AbortSignal.timeout(10_000)));
    for await (const lines of job.read(0, AbortSignal.timeout(10_000))) said.push(...lines.map(({ text }) => text))
    for await (const lines of agent.read(0, AbortSignal.timeout(10_000))) {
      said.push(...lines.map(({ text }) => text))
      if (said.at(-1) === 'got after') break
    }
  }
  const atLast = await job.exit()
  for (const each of [first, runId]) await host.remove(each)
  // The host may have made another network ahead in the meantime.
  const ofRuns = [joined(HostConfig.NetworkMode), ...[first, runId].map((each) => containerName(each, 1))]
  const all = await docker.listContainers({ all: true })
  const left = all.filter(({ Id, Names }) =>
    [Id, ...Names.map((name) => name.slice(1))].some((id) => ofRuns.includes(id)),
  )
  process.stdout.write(`${JSON.stringify({ atOnce, said, atLast, left })}\n`)
} finally {
  daemon.kill('SIGTERM')
  await once(daemon, 'exit')
}

async function startDaemon(): Promise<ChildProcess> {
  const log = openSync(join(directory, 'dockerd.log'), 'a')
  const flags = [
    ...['-H', `unix://${socketPath}`, '--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')],
    ...['--pidfile', join(directory, 'docker.pid'), ...(restart === 'live' ? ['--live-restore'] : [])],
  ]
  const process = spawn('dockerd', flags, { stdio: ['ignore', log, log] })
  for (const deadline = Date.now() + 30_000; ; await pause(50)) {
    const answers = await docker.ping().catch(() => null)
    if (answers !== null) return process
    if (process.exitCode !== null || Date.now() > deadline) throw new Error('dockerd does not start; see dockerd.log')
  }
}
