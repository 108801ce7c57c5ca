// One behaviour, both kinds of host, and the bare machine's with bubblewrap too.
import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import Docker from 'dockerode'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Journal, type JournalLine, ProcessEndedError } from '../domain/journal.ts'
import { createDirectHost } from './direct/host.ts'
import { killByContainer } from './docker/container-processes.ts'
import { createDockerHost } from './docker/host.ts'
import type { Host, Sandbox } from './host.ts'
import { createJobFile, jobPaths, removeJob } from './job-directory.ts'
import { markedProcesses } from './processes.ts'
import { runPaths } from './run-directory.ts'

const run = promisify(execFile)
const log = pino({ level: 'silent' })
const docker = new Docker()
const limits = { memoryMb: 512, cpus: 2, pids: 256 }

const makers = {
  direct: (runsDirectory: string) => createDirectHost({ runsDirectory, nodePath: process.execPath, log }),
  bubblewrap: (runsDirectory: string) =>
    createDirectHost({ runsDirectory, nodePath: process.execPath, log, sandbox: 'bwrap' }),
  docker: (runsDirectory: string) =>
    createDockerHost({ runsDirectory, nodePath: process.execPath, image: 'ambient-base:latest', limits, log }),
}

/** An agent that answers each line: it stands for every program that speaks lines. */
const ECHO = ['/bin/sh', '-c', 'while IFS= read -r line; do [ -n "$line" ] && printf "got %s\\n" "$line"; done']

describe.each(Object.keys(makers) as (keyof typeof makers)[])('%s', (kind) => {
  let directory: string
  let host: Host
  const runs: string[] = []

  beforeAll(async () => {
    // On a disk: where it is told what a run takes of one, files in memory count for nothing.
    directory = await mkdtemp(join('/tmp', `ambient-${kind}-`))
    host = await makers[kind](directory)
  })
  afterEach(async () => {
    for (const runId of runs.splice(0)) await host.remove(runId)
  })
  afterAll(async () => {
    await rm(directory, { recursive: true, force: true })
  })

  async function open(): Promise<Sandbox> {
    const runId = randomUUID()
    runs.push(runId)
    return host.open({ runId, generation: 1, image: null, toolkit: null })
  }

  const program = (...command: string[]) => ({ command, env: {}, cwd: '/' })
  const workspace = (sandbox: Sandbox) => host.paths(sandbox.runId, null).workspace

  /** Another process with a host of its own over the same directory; it is told what to do on its command line. */
  function secondProcess(action: string, ...args: string[]) {
    return spawn(
      process.execPath,
      [join(import.meta.dirname, 'host-process.fixture.ts'), kind, directory, action, ...args],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
  }

  test('starts an agent once, with its environment and arguments whole', async () => {
    const sandbox = await open()
    const value = 'a b\n\'"$(x)`\\ \\0101 é\u{1f600} end\n\n'
    const spec = {
      command: [host.paths(sandbox.runId, null).node, '-e', SHOW, 'first\narg', '', '*'],
      env: { VALUE: value, IFS: 'x' },
      cwd: workspace(sandbox),
    }
    const [first, second] = await Promise.all([sandbox.startAgent(spec), sandbox.startAgent(spec)])
    const lines = await texts(first)
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { args: ['first\narg', '', '*'], value, cwd: workspace(sandbox) },
    ])
    expect(await texts(second)).toEqual(lines)
    expect(await first.exit()).toEqual({ code: 0, outOfMemory: false })
    expect(first.name).toBe('agent-1')
  })

  test('speaks with the agent, and another reader reads the same again from any line', async () => {
    const sandbox = await open()
    expect(await sandbox.agent()).toBeNull()
    const journal = await sandbox.startAgent(program(...ECHO))
    expect(await journal.exit()).toBeNull()
    await Promise.all([journal.write('one\n'), journal.write('two\n')])
    expect((await take(journal, 2)).map(({ line, text }) => [line, text])).toEqual([
      [1, 'got one'],
      [2, 'got two'],
    ])
    const found = await host.find(sandbox.runId, 1)
    const again = await found?.agent()
    await again?.write('three\n')
    expect((await take(again as Journal, 2, 1)).map(({ text }) => text)).toEqual(['got two', 'got three'])
    expect(await host.find(sandbox.runId, 2)).toBeNull()
  })

  test('keeps a line of 20 MB whole, replaces invalid UTF-8, and gives the last line without its newline', async () => {
    const sandbox = await open()
    const script = `
      const write = (bytes) => new Promise((done) => process.stdout.write(bytes, done))
      await write('x'.repeat(20_000_000) + 'é\\n')
      await write(Buffer.from([0x61, 0xff, 0xc3, 0x0a]))
      await write('\\nlast')
    `
    const node = host.paths(sandbox.runId, null).node
    const journal = await sandbox.startAgent(program(node, '--input-type=module', '-e', script))
    const lines = await read(journal)
    expect(lines.map(({ text, truncatedBytes }) => [text.length, text.slice(-3), truncatedBytes])).toEqual([
      [20_000_001, 'xxé', 0],
      [3, 'a\ufffd\ufffd', 0],
      [0, '', 0],
      [4, 'ast', 0],
    ])
  })

  test('takes a line of 20 MB on stdin', async () => {
    const sandbox = await open()
    const node = host.paths(sandbox.runId, null).node
    const script = `
      let size = 0
      process.stdin.on('data', (chunk) => { size += chunk.length; if (chunk.at(-1) === 10 && size > 1e6) { console.log(size); process.exit() } })
    `
    const journal = await sandbox.startAgent(program(node, '-e', script))
    await journal.write(`${'y'.repeat(20_000_000)}\n`)
    // One newline more: the first write closes what a predecessor may have left torn.
    const sizes = (await texts(journal)).map(Number)
    expect(sizes[0]).toBeGreaterThanOrEqual(20_000_001)
  })

  test('tells how the agent ended and what it said on stderr, and refuses to write to it then', async () => {
    const sandbox = await open()
    const journal = await sandbox.startAgent(program('/bin/sh', '-c', 'echo out; echo trouble >&2; exit 7'))
    expect(await texts(journal)).toEqual(['out'])
    expect(await journal.exit()).toEqual({ code: 7, outOfMemory: false })
    expect((await journal.stderrTail()).trim()).toBe('trouble')
    await expect(journal.write('more\n')).rejects.toThrow(ProcessEndedError)
    expect(await sandbox.isRunning()).toBe(false)
  })

  test('says so when the program does not exist', async () => {
    const sandbox = await open()
    const journal = await sandbox.startAgent(program('/no/such/program'))
    expect(await texts(journal)).toEqual([])
    expect((await journal.exit())?.code).toBe(127)
    expect((await journal.stderrTail()).trim()).toBe('/no/such/program: there is no such program here')
  })

  test('says why a program that is there cannot be started', async () => {
    const sandbox = await open()
    const journal = await sandbox.startAgent(program('/etc/passwd'))
    expect(await texts(journal)).toEqual([])
    expect((await journal.exit())?.code).toBe(126)
    expect(await journal.stderrTail()).toMatch(/permission denied/i)
  })

  test('ends a reading when its signal aborts', async () => {
    const sandbox = await open()
    const journal = await sandbox.startAgent(program(...ECHO))
    const stop = new AbortController()
    const reading = read(journal, 0, stop.signal)
    stop.abort()
    expect(await reading).toEqual([])
    expect(await sandbox.isRunning()).toBe(true)
  })

  test('outlives a process killed while it writes a line, and the next writer is understood', async () => {
    const sandbox = await open()
    const writer = secondProcess('write-torn', sandbox.runId)
    await once(writer.stdout, 'data')
    writer.kill('SIGKILL')
    await once(writer, 'exit')
    const journal = (await sandbox.agent()) as Journal
    await journal.write('whole\n')
    const lines: string[] = []
    for await (const batch of journal.read(0, AbortSignal.timeout(20_000))) {
      lines.push(...batch.map(({ text }) => text))
      if (lines.at(-1) === 'got whole') break
    }
    expect(lines).toEqual(['got before', 'got to', 'got whole'])
  })

  test('stop ends grandchildren that left session and group, and keeps what is on disk', async () => {
    const sandbox = await open()
    const journal = await sandbox.startAgent({
      command: [
        '/bin/sh',
        '-c',
        `(setsid sh -c 'trap "" TERM; sleep 987654 & wait' &); echo kept >file; echo ready; exec sleep 987654`,
      ],
      env: {},
      cwd: workspace(sandbox),
    })
    const background = await sandbox.job({
      id: 'background',
      ...program('/bin/sh', '-c', 'setsid sleep 987654 & echo up'),
    })
    await texts(background)
    await take(journal, 1)
    expect(await host.list()).toContainEqual({ runId: sandbox.runId, running: true })
    const before = Date.now()
    await host.stop(sandbox.runId)
    expect(Date.now() - before).toBeLessThan(5_000)
    expect((await markedProcesses()).get(sandbox.runId)).toBeUndefined()
    expect(await sandbox.isRunning()).toBe(false)
    // A container that was removed cannot tell any more how its agent ended; it is never said to run on.
    const ending = await journal.exit().catch((error) => error.failure.code)
    expect(kind === 'docker' ? ending : ending.code).toBe(kind === 'docker' ? 'sandbox_lost' : 143)
    expect(await readFile(join(directory, sandbox.runId, 'workspace/file'), 'utf8')).toBe('kept\n')
    expect(await host.list()).toContainEqual({ runId: sandbox.runId, running: false })
    await expect(sandbox.job({ id: 'late', ...program('true') })).rejects.toMatchObject({
      failure: { code: 'sandbox_lost' },
    })
    await host.remove(sandbox.runId)
    await host.remove(sandbox.runId)
    expect(await host.list()).not.toContainEqual(expect.objectContaining({ runId: sandbox.runId }))
  })

  test('a stopped run goes on in the next generation over the same files', async () => {
    const sandbox = await open()
    const spec = {
      command: ['/bin/sh', '-c', 'n=$(($(cat count 2>/dev/null || echo 0) + 1)); echo $n >count; echo $n'],
      env: {},
      cwd: workspace(sandbox),
    }
    expect(await texts(await sandbox.startAgent(spec))).toEqual(['1'])
    await host.stop(sandbox.runId)
    const next = await host.open({ runId: sandbox.runId, generation: 2, image: null, toolkit: null })
    const journal = await next.startAgent(spec)
    expect(journal.name).toBe('agent-2')
    expect(await texts(journal)).toEqual(['2'])
  })

  // A matter of the locks, which bubblewrap has no part in; it takes seconds.
  test.skipIf(kind === 'bubblewrap')(
    'what is started while a stop is under way waits for it, and is not taken along',
    async () => {
      const sandbox = await open()
      const slow = ['/bin/sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.1; done']
      await take(await sandbox.startAgent(program(...slow)), 1)
      const stopping = host.stop(sandbox.runId)
      const next = await host.open({ runId: sandbox.runId, generation: 2, image: null, toolkit: null })
      const job = await next.job({ id: 'next', ...program('/bin/sh', '-c', 'sleep 2; echo done') })
      await stopping
      expect(await texts(job)).toEqual(['done'])
      expect(await job.exit()).toEqual({ code: 0, outOfMemory: false })
      expect(await sandbox.isRunning()).toBe(false)
    },
  )

  test('what is being started when a stop comes does not outlive it', async () => {
    const sandbox = await open()
    const job = sandbox.job({ id: 'late', ...program('/bin/sh', '-c', 'setsid sleep 987654 & sleep 987654') })
    const settled = job.catch(() => {}) // It may be refused as well as started and ended.
    await host.stop(sandbox.runId)
    await settled
    expect((await markedProcesses()).get(sandbox.runId)).toBeUndefined()
  })

  test('runs a job once, with its stdin, and gives both streams and its exit code', async () => {
    const sandbox = await open()
    const spec = {
      id: 'setup-1',
      command: ['/bin/sh', '-c', 'cat; echo "$NAME" >&2; echo run >>count; exit 3'],
      env: { NAME: 'ünï' },
      cwd: workspace(sandbox),
      stdin: 'first\nsecond\n',
    }
    const [job, same] = await Promise.all([sandbox.job(spec), sandbox.job(spec)])
    expect(await texts(job)).toEqual(['first', 'second', 'ünï'])
    expect(await texts(same)).toEqual(['first', 'second', 'ünï'])
    expect(await job.exit()).toEqual({ code: 3, outOfMemory: false })
    expect(await texts(await sandbox.job(spec))).toHaveLength(3)
    expect(await readFile(join(directory, sandbox.runId, 'workspace/count'), 'utf8')).toBe('run\n')
    await expect(job.write('x')).rejects.toThrow(ProcessEndedError)
  })

  test('runs a job anew whose files were removed, as its host may have been killed before it noted that it needs none', async () => {
    const sandbox = await open()
    const spec = { id: 'again', ...program('/bin/sh', '-c', 'echo told; echo done') }
    expect(await texts(await sandbox.job(spec))).toEqual(['told', 'done'])
    await removeJob(runPaths(directory, sandbox.runId), 'again')
    expect(await sandbox.hasJob('again')).toBe(false)
    // As whoever has something for the job leaves it before it begins.
    await (await createJobFile(jobPaths(runPaths(directory, sandbox.runId), 'again'), 'given', sandbox.owner)).close()
    const job = await sandbox.job(spec)
    expect(await texts(job)).toEqual(['told', 'done'])
    expect(await job.exit()).toEqual({ code: 0, outOfMemory: false })
  })

  test('a job outlives the process that started it and is followed by the next one', async () => {
    const sandbox = await open()
    const starter = secondProcess('job', sandbox.runId, workspace(sandbox))
    await once(starter.stdout, 'data')
    starter.kill('SIGKILL')
    await once(starter, 'exit')
    const job = await sandbox.job({ id: 'slow', ...program('/bin/sh', '-c', 'echo must not run again') })
    expect(await job.exit()).toBeNull()
    await writeFile(join(directory, sandbox.runId, 'workspace/go'), '')
    expect(await texts(job)).toEqual(['begun', 'ended'])
    expect(await job.exit()).toEqual({ code: 5, outOfMemory: false })
  })

  test('a job that makes its output a file of a terabyte costs neither time nor memory', async () => {
    const sandbox = await open()
    const script = 'echo begun; truncate -s 1T "$AMBIENT_JOB_FILES/../output"; exit 4'
    const job = await sandbox.job({ id: 'sparse', ...program('/bin/sh', '-c', script) })
    const before = performance.now()
    const lines = await texts(job)
    expect(performance.now() - before).toBeLessThan(5_000)
    expect([lines[0], lines.at(-1)]).toEqual(['begun', expect.stringMatching(/^\[There are \d+ bytes more/)])
    expect(await job.exit()).toEqual({ code: 4, outOfMemory: false })
  })

  test('what a run takes of the disk is known, and holes in files take nothing', async () => {
    const sandbox = await open()
    const script = `truncate -s 1T holes; head -c 30000000 /dev/urandom >bytes; sync bytes`
    const job = await sandbox.job({ id: 'fill', command: ['/bin/sh', '-c', script], env: {}, cwd: workspace(sandbox) })
    await texts(job)
    const size = await host.diskUsage(sandbox.runId)
    expect(size).toBeGreaterThan(30_000_000)
    expect(size).toBeLessThan(60_000_000)
  })

  test('very many empty files count for the part of the disk that has entries for as many', async () => {
    const { blocks, bsize, files } = await statfs(directory)
    if (files === 0) return // Such a disk never runs out of them.
    const sandbox = await open()
    const script = 'seq 5000 | xargs touch'
    const job = await sandbox.job({ id: 'fill', command: ['/bin/sh', '-c', script], env: {}, cwd: workspace(sandbox) })
    await texts(job)
    const share = (5_000 * blocks * bsize) / files
    const size = await host.diskUsage(sandbox.runId)
    expect(size).toBeGreaterThan(share)
    expect(size).toBeLessThan(1.2 * share)
  })

  test('a file that was removed and is still open counts, once', async () => {
    const sandbox = await open()
    const script = 'exec 7>bytes 8>>bytes; rm bytes; head -c 30000000 /dev/urandom >&7; echo full; sleep 987654'
    const spec = { id: 'removed', command: ['/bin/sh', '-c', script], env: {}, cwd: workspace(sandbox) }
    await take(await sandbox.job(spec), 1)
    // A file system gives bytes their place when it likes.
    await expect.poll(() => host.diskUsage(sandbox.runId)).toBeGreaterThan(30_000_000)
    expect(await host.diskUsage(sandbox.runId)).toBeLessThan(45_000_000)
  })

  test('a job ends with its sandbox', async () => {
    const sandbox = await open()
    const job = await sandbox.job({ id: 'long', ...program('/bin/sh', '-c', 'echo begun; exec sleep 987654') })
    await take(job, 1)
    await host.stop(sandbox.runId)
    expect(await texts(job)).toEqual(['begun'])
    expect((await job.exit())?.code).toBe(137)
  })

  test('gives the sandbox nothing of its own environment', async () => {
    const sandbox = await open()
    const job = await sandbox.job({ id: 'env', ...program('env') })
    const names = (await texts(job)).map((line) => line.split('=')[0])
    expect(names.toSorted()).toEqual(
      expect.arrayContaining(['AMBIENT_JOB_FILES', 'AMBIENT_RUN', 'HOME', 'LANG', 'PATH'].toSorted()),
    )
    expect(
      names.filter(
        (name) =>
          ![
            'AMBIENT_JOB_FILES',
            'AMBIENT_RUN',
            'AMBIENT_RUN_DIRECTORY',
            'HOME',
            'HOSTNAME',
            'LANG',
            'PATH',
            'PWD',
            'TMPDIR',
            'OLDPWD',
            'SHLVL',
            '_',
          ].includes(name ?? ''),
      ),
    ).toEqual([])
  })
})

describe('docker alone', () => {
  let directory: string
  let host: Host
  const runs: string[] = []
  const images: string[] = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ambient-docker-'))
    host = await makers.docker(directory)
  })
  afterAll(async () => {
    for (const runId of runs) await host.remove(runId)
    for (const image of images) await docker.getImage(image).remove()
    await rm(directory, { recursive: true, force: true })
  })

  async function open(image: string | null = null): Promise<Sandbox> {
    const runId = randomUUID()
    runs.push(runId)
    return host.open({ runId, generation: 1, image, toolkit: null })
  }

  /** The host's image with a file less. */
  async function imageWithout(path: string): Promise<string> {
    const container = await docker.createContainer({ Image: 'ambient-base:latest', User: '0', Cmd: ['rm', path] })
    await container.start()
    await container.wait()
    const { Id } = (await container.commit()) as { Id: string }
    await container.remove()
    images.push(Id)
    return Id
  }

  test('what is written elsewhere in a container, and what its agent prints, counts as disk usage', async () => {
    const sandbox = await open()
    const script = 'head -c 20000000 /dev/urandom >/var/tmp/bytes; head -c 9000000 /dev/urandom | base64; sleep 987654'
    const journal = await sandbox.startAgent({ command: ['/bin/sh', '-c', script], env: {}, cwd: '/' })
    await take(journal, 150_000)
    expect(await host.diskUsage(sandbox.runId)).toBeGreaterThan(30_000_000)
  })

  test('secrets and prompts reach the program and nothing that can be inspected', async () => {
    const sandbox = await open()
    const secret = `secret-${randomUUID()}`
    const env = { TOKEN: secret }
    const journal = await sandbox.startAgent({
      command: ['/bin/sh', '-c', 'echo "$TOKEN"; exec sleep 987654', secret],
      env,
      cwd: '/',
    })
    expect((await take(journal, 1))[0]?.text).toBe(secret)
    const job = await sandbox.job({
      id: 'job',
      command: ['/bin/sh', '-c', 'printf %s "$TOKEN" | wc -c'],
      env,
      cwd: '/',
    })
    expect(await texts(job)).toEqual([String(secret.length)])
    const [info] = await docker.listContainers({ filters: { label: [`ambient.run=${sandbox.runId}`] } })
    const container = docker.getContainer(info?.Id ?? '')
    const inspected = await container.inspect()
    const execs = await Promise.all((inspected.ExecIDs ?? []).map((id) => docker.getExec(id).inspect()))
    expect(JSON.stringify([inspected, execs])).not.toContain(secret)
    const { stdout } = await run('grep', ['-rl', secret, join(directory, sandbox.runId)]).catch(() => ({ stdout: '' }))
    expect(stdout).toBe('')
  })

  test('the sandbox has no capabilities, gains no privileges, is not root and is limited', async () => {
    const sandbox = await open()
    const job = await sandbox.job({
      id: 'look',
      command: [
        '/bin/sh',
        '-c',
        'grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp):" /proc/self/status; id -u; ls -d /var/run/docker.sock; ulimit -c',
      ],
      env: {},
      cwd: '/',
    })
    const lines = await texts(job)
    expect(lines.slice(0, 5)).toEqual([
      'CapEff:\t0000000000000000',
      'CapBnd:\t0000000000000000',
      'NoNewPrivs:\t1',
      'Seccomp:\t2',
      String(host.owner.uid),
    ])
    expect(host.owner.uid).not.toBe(0)
    expect(lines[5]).toContain('No such file')
    const [info] = await docker.listContainers({ filters: { label: [`ambient.run=${sandbox.runId}`] } })
    const { HostConfig } = await docker.getContainer(info?.Id ?? '').inspect()
    expect(HostConfig).toMatchObject({
      Memory: 512 * 1024 * 1024,
      MemorySwap: 512 * 1024 * 1024,
      NanoCpus: 2e9,
      PidsLimit: 256,
      NetworkMode: 'ambient',
      Privileged: false,
      IpcMode: 'private',
      ShmSize: 128 * 1024 * 1024,
      OomScoreAdj: 500,
      Ulimits: [{ Name: 'core', Soft: 0, Hard: 0 }],
      ReadonlyPaths: expect.arrayContaining(['/proc/sys', '/proc/sysrq-trigger']),
      MaskedPaths: expect.arrayContaining(['/proc/kcore', '/sys/firmware']),
      RestartPolicy: { Name: 'no' },
    })
  })

  test('a sandbox runs in the runtime that is set, and a daemon without it is told of at the start', async () => {
    const make = (runtime: string) =>
      createDockerHost({
        runsDirectory: directory,
        nodePath: process.execPath,
        image: 'ambient-base:latest',
        limits,
        log,
        runtime,
      })
    await expect(make('no-such-runtime')).rejects.toThrow(/AMBIENT_DOCKER_RUNTIME is no-such-runtime.*daemon\.json/)
    // Another name of what every daemon has; one that was given runtimes while it ran has forgotten it.
    const { Runtimes } = (await docker.info()) as { Runtimes: Record<string, unknown> }
    const runtime = ['io.containerd.runc.v2', 'runsc'].find((name) => name in Runtimes) ?? 'none'
    const other = await make(runtime)
    const runId = randomUUID()
    runs.push(runId)
    await other.open({ runId, generation: 1, image: null, toolkit: null })
    const [info] = await docker.listContainers({ filters: { label: [`ambient.run=${runId}`] } })
    const { HostConfig } = await docker.getContainer(info?.Id ?? '').inspect()
    expect(HostConfig.Runtime).toBe(runtime)
  })

  test('an agent and a job that use too much memory are told apart from one that was killed', async () => {
    const sandbox = await open()
    const hog = ['/opt/ambient/node', '-e', 'const all = []; for (;;) all.push(Buffer.alloc(1e7, 1))']
    const job = await sandbox.job({ id: 'hog', command: hog, env: {}, cwd: '/' })
    await texts(job)
    expect(await job.exit()).toEqual({ code: 137, outOfMemory: true })
    const killed = await sandbox.job({ id: 'killed', command: ['/bin/sh', '-c', 'kill -9 $$'], env: {}, cwd: '/' })
    await texts(killed)
    expect(await killed.exit()).toEqual({ code: 137, outOfMemory: false })
    const journal = await sandbox.startAgent({ command: hog, env: {}, cwd: '/' })
    await texts(journal)
    expect(await journal.exit()).toEqual({ code: 137, outOfMemory: true })
  })

  test('a job’s signals are its own: neither the sandbox nor the next job hears them', async () => {
    const sandbox = await open()
    const script = `trap 'echo interrupted; trap - TERM; kill 0' INT; kill -INT $$; echo not reached`
    const job = await sandbox.job({ id: 'loud', command: ['/bin/sh', '-c', script], env: {}, cwd: '/' })
    expect(await texts(job)).toEqual(['interrupted'])
    expect(await job.exit()).toEqual({ code: 143, outOfMemory: false })
    expect(await sandbox.isRunning()).toBe(true)
    const next = await sandbox.job({ id: 'next', command: ['/bin/sh', '-c', 'echo here'], env: {}, cwd: '/' })
    expect(await texts(next)).toEqual(['here'])
  })

  test.for(['with its own setsid', 'without setsid'])(
    'jobs start in an image %s, before and after its agent',
    async (kind) => {
      const sandbox = await open(kind === 'without setsid' ? await imageWithout('/usr/bin/setsid') : null)
      const echo = (id: string) => ({
        id,
        command: ['/bin/sh', '-c', 'cat; echo "$WHO"'],
        env: { WHO: id },
        stdin: 'in\n',
        cwd: '/',
      })
      const jobs = await Promise.all(['first', 'second'].map((id) => sandbox.job(echo(id))))
      expect(await Promise.all(jobs.map(texts))).toEqual([
        ['in', 'first'],
        ['in', 'second'],
      ])
      const agent = await sandbox.startAgent({ command: ['/bin/sh', '-c', 'cat'], env: {}, cwd: '/' })
      await agent.write('told\n')
      expect((await take(agent, 1)).map(({ text }) => text)).toEqual(['told'])
      expect(await texts(await sandbox.job(echo('third')))).toEqual(['in', 'third'])
    },
  )

  test('a host that does not see the processes of its daemon’s machine has a container kill those of a sandbox', async () => {
    const [sandbox, other] = await Promise.all([open(), open()])
    const [info] = await docker.listContainers({ filters: { label: [`ambient.run=${sandbox.runId}`] } })
    await killByContainer(docker, info?.Id ?? '', 'ambient-base:latest')
    await expect.poll(() => sandbox.isRunning()).toBe(false)
    expect(await other.isRunning()).toBe(true)
    expect(await docker.listContainers({ all: true, filters: { label: ['ambient.helper=kill'] } })).toEqual([])
  })

  test('an agent that is started right after jobs is not taken for what their gates say', async () => {
    for (let round = 0; round < 5; round++) {
      const sandbox = await open()
      const job = (id: string) => sandbox.job({ id, command: ['/bin/sh', '-c', 'echo done'], env: {}, cwd: '/' })
      const program = { command: ['/bin/sh', '-c', 'echo agent; exec cat'], env: {}, cwd: '/' }
      const [one, two, agent] = await Promise.all([job('one'), job('two'), sandbox.startAgent(program)])
      await agent.write('told\n')
      expect((await take(agent, 2)).map(({ text }) => text)).toEqual(['agent', 'told'])
      expect(await Promise.all([one, two].map(texts))).toEqual([['done'], ['done']])
    }
  })

  test('a job whose gate was killed beside it has ended, also for a host that was started since', async () => {
    const sandbox = await open()
    const job = { id: 'gone', command: ['/bin/sh', '-c', 'echo "$PPID"; exec sleep 987654'], env: {}, cwd: '/' }
    const [said] = await take(await sandbox.job(job), 1)
    const later = await (await makers.docker(directory)).find(sandbox.runId, 1)
    const journal = await later?.job(job)
    expect(await journal?.exit()).toBeNull()
    const kill = { id: 'kill', command: ['/bin/sh', '-c', `kill -9 ${said?.text}`], env: {}, cwd: '/' }
    await texts(await sandbox.job(kill))
    expect(await (await later?.job(job))?.exit()).toEqual({ code: 137, outOfMemory: false })
  })

  test('the agent’s program is there to be run, and not to be changed', async () => {
    const toolkit = join(directory, 'toolkit')
    await mkdir(toolkit, { recursive: true })
    await writeFile(join(toolkit, 'tool'), 'content')
    const runId = randomUUID()
    runs.push(runId)
    const sandbox = await host.open({ runId, generation: 1, image: null, toolkit })
    const paths = host.paths(runId, toolkit)
    const script =
      'cat "$1/tool"; echo; for path in "$1/tool" "$2"; do (echo x >"$path") 2>&1 | grep -o "Read-only file system"; done'
    const job = await sandbox.job({
      id: 'look',
      command: ['/bin/sh', '-c', script, 'sh', paths.toolkit, paths.node],
      env: {},
      cwd: '/',
    })
    expect(await texts(job)).toEqual(['content', 'Read-only file system', 'Read-only file system'])
  })

  test('a container that only says that it is of a run, as one of a build may, is none', async () => {
    const runId = randomUUID()
    const Labels = { 'ambient.directory': directory, 'ambient.run': runId }
    const container = await docker.createContainer({ Image: 'ambient-base:latest', Labels })
    try {
      expect((await host.list()).map((each) => each.runId)).not.toContain(runId)
      await host.stop(runId)
      expect((await container.inspect()).Id).toBe(container.id)
    } finally {
      await container.remove({ force: true })
    }
  })

  test('two sandboxes cannot reach one another', async () => {
    const server = await open()
    const journal = await server.startAgent({
      command: [
        '/opt/ambient/node',
        '-e',
        `require('node:http').createServer((q, a) => a.end('hi')).listen(8000, () => console.log(require('node:os').networkInterfaces().eth0[0].address))`,
      ],
      env: {},
      cwd: '/',
    })
    const address = (await take(journal, 1))[0]?.text
    const client = await open()
    const job = await client.job({
      id: 'call',
      command: ['/bin/sh', '-c', `curl -s -m 2 http://${address}:8000 || echo "refused $?"`],
      env: {},
      cwd: '/',
    })
    expect(await texts(job)).toEqual(['refused 7'])
    // Somebody is there, for this machine.
    expect(await (await fetch(`http://${address}:8000`)).text()).toBe('hi')
  })

  test('an image that is nowhere fails with what to do next', async () => {
    await expect(open('registry.invalid/nowhere:1')).rejects.toMatchObject({
      failure: { code: 'image_not_found', phase: 'workspace', nextStep: expect.stringContaining('docker pull') },
    })
  })

  test('a registry at which nobody listens is the platform’s trouble, as a git server is', async () => {
    await expect(open('localhost:1/nowhere:1')).rejects.toMatchObject({
      failure: { code: 'registry_unavailable', nextStep: expect.stringContaining('Try again') },
    })
  })

  test('a daemon that does not answer is said to be unreachable', async () => {
    const nobody = new Docker({ socketPath: join(directory, 'no.sock') })
    await expect(
      createDockerHost({ runsDirectory: directory, nodePath: '/x', image: 'x', limits, log, docker: nobody }),
    ).rejects.toMatchObject({ failure: { code: 'host_unavailable' } })
  })

  test('a start that a dead predecessor left torn does not count', async () => {
    const sandbox = await open()
    const [info] = await docker.listContainers({ filters: { label: [`ambient.run=${sandbox.runId}`] } })
    const socket = await docker.getContainer(info?.Id ?? '').attach({ stream: true, stdin: true, hijack: true })
    socket.end('hello dead\nstart dead c/ eOLD=1 aecho awro')
    await once(socket.resume(), 'close')
    const found = await (await makers.docker(directory)).find(sandbox.runId, 1)
    if (found === null) throw new Error('the next host finds no sandbox')
    const journal = await found.startAgent({
      command: ['/bin/sh', '-c', 'echo "old=$OLD $*"', 'sh', 'right'],
      env: {},
      cwd: '/',
    })
    expect(await texts(journal)).toEqual(['old= right'])
  })

  test('a sandbox can be opened on an image that does not know its user; what is in volumes of the image counts as disk usage', async () => {
    const build = spawn('docker', ['build', '-q', '-t', 'ambient-test-nouser', '-'], {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: { ...process.env, DOCKER_BUILDKIT: '0' },
    })
    build.stdin.end(
      'FROM ambient-base\nUSER root\nRUN userdel agent && mkdir -m 777 /data\nVOLUME /data\nLABEL ambient.owner=0:0 ambient.restricted=yes\n',
    )
    await once(build, 'exit')
    try {
      const sandbox = await open('ambient-test-nouser')
      const job = await sandbox.job({
        id: 'who',
        command: [
          '/bin/sh',
          '-c',
          'id -un; echo ~; touch ~/mine && head -c 20000000 /dev/urandom >/data/file && echo ok',
        ],
        env: {},
        cwd: '/',
      })
      expect(await texts(job)).toEqual(['agent', '/home/agent', 'ok'])
      expect(await host.diskUsage(sandbox.runId)).toBeGreaterThan(20_000_000)
      // Labels of an image mean nothing.
      expect(await host.find(sandbox.runId, 1)).toMatchObject({ owner: sandbox.owner, gateway: undefined })
    } finally {
      for (const runId of runs.splice(0)) await host.remove(runId)
      await docker.getImage('ambient-test-nouser').remove({ force: true })
    }
  })
})

const SHOW = `console.log(JSON.stringify({ args: process.argv.slice(1), value: process.env.VALUE, cwd: process.cwd() }))`

async function read(journal: Journal, after = 0, signal = AbortSignal.timeout(30_000)): Promise<JournalLine[]> {
  const lines: JournalLine[] = []
  for await (const batch of journal.read(after, signal)) lines.push(...batch)
  return lines
}

const texts = async (journal: Journal) => (await read(journal)).map(({ text }) => text)

/** The first lines, while the program runs on. */
async function take(journal: Journal, count: number, after = 0): Promise<JournalLine[]> {
  const lines: JournalLine[] = []
  for await (const batch of journal.read(after, AbortSignal.timeout(20_000))) {
    lines.push(...batch)
    if (lines.length >= count) break
  }
  return lines
}
