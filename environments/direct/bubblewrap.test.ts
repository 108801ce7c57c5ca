// What bubblewrap keeps from an agent on the bare machine; that it is otherwise a host like the others is in ../conformance.test.ts.
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Host } from '../host.ts'
import { createDirectHost } from './host.ts'

const run = promisify(execFile)
const log = pino({ level: 'silent' })
const isRoot = process.getuid?.() === 0
/** A user of this machine who is not root. */
const USER = 65_534

let data: string
let host: Host
const make = (options: { sandbox: 'none' | 'bwrap'; path?: string; hidden?: string[] }) =>
  createDirectHost({ runsDirectory: join(data, 'runs'), nodePath: process.execPath, log, ...options })

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'ambient-bubblewrap-'))
  await writeFile(join(data, 'admin-key'), 'the-admin-key\n')
  host = await make({ sandbox: 'bwrap' })
})
afterAll(async () => {
  for (const { runId } of (await host?.list()) ?? []) await host.remove(runId)
  await rm(data, { recursive: true, force: true })
})

async function open(at: Host = host, runId: string = randomUUID(), generation = 1) {
  const sandbox = await at.open({ runId, generation, image: null, toolkit: null })
  const { workspace } = at.paths(runId, null)
  return {
    runId,
    sandbox,
    workspace,
    async sh(script: string, ...args: string[]) {
      const command = ['/bin/sh', '-c', script, 'sh', ...args]
      const job = await sandbox.job({ id: `job-${randomUUID()}`, command, env: {}, cwd: workspace })
      const lines: string[] = []
      for await (const batch of job.read(0, AbortSignal.timeout(20_000))) lines.push(...batch.map(({ text }) => text))
      return { lines, code: (await job.exit())?.code }
    },
  }
}

test('a program sees the system and its own run; not the data directory, another run, homes, or any other process', async () => {
  const other = await open()
  await other.sh('echo secret >file; exec sleep 987654 >/dev/null &')
  const { sh, runId } = await open()
  const look = [
    'echo mine >file && cat file',
    'git --version | cut -c 1-11',
    'for path in "$@"; do ls -d "$path" 2>/dev/null; done',
    'ls "$HOME/.." "$HOME/../.."',
    // Itself, the shell and the sleep that keep the sandbox, and what keeps those.
    'ls /proc | grep -c "^[0-9]"',
    'ps ax -o args | grep -c "[s]leep 987654"',
  ]
  const hidden = [
    join(data, 'admin-key'),
    other.workspace,
    '/root',
    '/home',
    '/var/run/docker.sock',
    '/run',
    '/var/lib',
  ]
  hidden.push(join(import.meta.dirname, 'bubblewrap.test.ts'))
  const { lines } = await sh(look.join('; '), ...hidden)
  const up = (path: string) => expect.stringMatching(new RegExp(`${path}:$`))
  const own = [up('/home/..'), 'home', 'jobs', 'tmp', 'workspace', '', up('/home/../..'), runId]
  expect(lines.slice(0, -2)).toEqual(['mine', 'git version', ...own])
  expect(Number(lines.at(-2))).toBeLessThan(9)
  expect(lines.at(-1)).toBe('0')
})

test.runIf(isRoot)('what the host keeps secret is not to be seen where the system keeps its files either', async () => {
  const system = await mkdtemp('/opt/ambient-bubblewrap-')
  try {
    await chmod(system, 0o755)
    await mkdir(join(system, 'data'))
    for (const name of ['token', 'open', 'data/key']) await writeFile(join(system, name), `${name}\n`)
    await symlink(join(system, 'data'), join(data, 'link'))
    const hidden = [join(data, 'link'), join(system, 'token'), join(data, 'nothing')]
    const { sh } = await open(await make({ sandbox: 'bwrap', hidden }))
    const { lines } = await sh(
      'cd "$1" && cat open; cat token data/key 2>/dev/null; touch data/x 2>/dev/null && echo x',
      system,
    )
    expect(lines).toEqual(['open'])
  } finally {
    await rm(system, { recursive: true, force: true })
  }
})

test('it changes nothing outside of its run, and has no rights to change that', async () => {
  const { sh, workspace } = await open()
  const { lines } = await sh(
    'for path in / /usr /etc /opt "$1/.." "$1/../.."; do touch "$path/x" 2>/dev/null && echo "wrote $path"; done; ' +
      'echo x 2>/dev/null >/proc/sys/kernel/core_pattern && echo sysctl; kill -9 1 2 2>/dev/null; ' +
      'unshare --user --map-root-user --mount sh -c "umount /tmp || mount -o remount,rw / || touch /x" >/dev/null 2>&1 && echo remounted; ' +
      'grep -E "^(CapEff|NoNewPrivs):" /proc/self/status; id -u; touch "$HOME/a" "$TMPDIR/b" /tmp/c /dev/shm/d && echo own; echo told >>/dev/stderr',
    workspace,
  )
  const user = isRoot ? '1000' : String(process.getuid?.())
  expect(lines).toEqual(['CapEff:\t0000000000000000', 'NoNewPrivs:\t1', user, 'own', 'told'])
})

test('what a program puts into the place of files that the host writes does no harm', async () => {
  const outside = join(data, 'outside')
  await writeFile(outside, 'untouched\n')
  const { sh } = await open()
  const { code } = await sh(
    'rm -rf "$AMBIENT_JOB_FILES"/*; for name in started exit; do ln -s "$1" "$AMBIENT_JOB_FILES/$name"; done; exit 6',
    outside,
  )
  expect(code).toBe(6)
  expect(await readFile(outside, 'utf8')).toBe('untouched\n')
})

test('variables of the program mean nothing before it is inside', async () => {
  const { sandbox, workspace, sh } = await open()
  await sh('printf "#!/bin/sh\\necho taken >&2; id -u >&2\\n" >nsenter; cp nsenter setpriv; chmod +x nsenter setpriv')
  const env = { PATH: `${workspace}:/usr/bin:/bin`, LD_PRELOAD: `${workspace}/evil.so`, IFS: 'x' }
  const job = await sandbox.job({ id: 'env', command: ['/bin/sh', '-c', 'echo "$PATH"'], env, cwd: '/' })
  const lines: string[] = []
  for await (const batch of job.read(0, AbortSignal.timeout(20_000))) lines.push(...batch.map(({ text }) => text))
  // The linker complains once for each program that begins inside: not for the gate, and not for what enters.
  expect(lines.filter((line) => !line.includes('evil.so'))).toEqual([env.PATH])
})

test('a sandbox from before the setting was changed is ended, and its files are the next one’s', async () => {
  const plain = await make({ sandbox: 'none' })
  const { runId, sandbox, workspace } = await open(plain)
  await sandbox.startAgent({
    command: ['/bin/sh', '-c', 'echo kept >file; exec sleep 987654'],
    env: {},
    cwd: workspace,
  })
  await expect.poll(() => readFile(join(workspace, 'file'), 'utf8').catch(() => '')).toBe('kept\n')
  const wrapped = await make({ sandbox: 'bwrap' })
  expect(await sandbox.isRunning()).toBe(false)
  expect(await wrapped.list()).toContainEqual({ runId, running: false })
  const next = await open(wrapped, runId, 2)
  expect(await next.sh('cat file; echo more >>file')).toEqual({ lines: ['kept'], code: 0 })
})

test('a machine without bubblewrap is told what it needs', async () => {
  const bin = join(data, 'bin')
  await mkdir(bin)
  await symlink('/usr/bin/unshare', join(bin, 'unshare'))
  await expect(make({ sandbox: 'bwrap', path: bin })).rejects.toThrow(
    /AMBIENT_DIRECT_SANDBOX is bwrap.*apt-get install/,
  )
})

test.runIf(isRoot)('a user who is not root has the same sandbox', async () => {
  const runs = await mkdtemp(join(tmpdir(), 'ambient-bubblewrap-user-'))
  try {
    await chown(runs, USER, USER)
    await chmod(runs, 0o700)
    const script = 'id -u; cat "$1"; touch /usr/x; grep CapEff /proc/self/status; sleep 987654 & echo end'
    const fixture = join(import.meta.dirname, '..', 'host-process.fixture.ts')
    const { stdout } = await run(
      process.execPath,
      [fixture, 'bubblewrap', runs, 'look', randomUUID(), script, join(data, 'admin-key')],
      { uid: USER, gid: USER, env: { PATH: process.env.PATH, HOME: runs }, timeout: 30_000 },
    )
    const lines = stdout.split('\n')
    expect(lines[0]).toBe(String(USER))
    expect(lines).toContainEqual(expect.stringContaining('No such file'))
    expect(lines).toContainEqual(expect.stringContaining('Read-only'))
    expect(lines).toContain('CapEff:\t0000000000000000')
    // Removed, with everything that was still at work.
    expect(await readdir(runs)).toEqual([])
  } finally {
    await rm(runs, { recursive: true, force: true })
  }
})
