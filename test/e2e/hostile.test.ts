// Agents that mean harm, all at once on one host: each ends as its own run's failure, and nothing else notices.
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { RunItem } from '../../domain/run.ts'
import { isTerminal, type RunState } from '../../domain/state.ts'
import { type JoinedHost, joinHost, type NewHost } from '../support/both-hosts.ts'
import { AGENT_CACHE } from '../support/caches.ts'
import { GVISOR, hasGvisor } from '../support/gvisor.ts'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import { type Stack, startStack } from '../support/stack.ts'

const NODE = '/opt/ambient/node'
const MiB = 1024 ** 2
/** What a run that fills the disk may take of it, in GiB. */
const DISK = { max_disk_gb: 0.05 }

interface Attack {
  script: string
  limits?: object
  /** Absent: in a container. */
  pool?: string
  /** It is a set-up command of the environment, before which no agent is. */
  isSetUp?: true
}

/** What the gateway says to credentials that belong to nobody, to a former run, to another one, and to this one. */
const CALLS = String.raw`
  for token in none "$OLD_CREDENTIAL" "$OTHER_CREDENTIAL" "$OPENAI_API_KEY"; do
    curl -s -o /dev/null -w "gateway %{http_code}\n" -m 5 -H "authorization: Bearer $token" "$OPENAI_BASE_URL/models"
  done`

/** With its own it comes through to the provider, which here knows no such address. */
const OWN_CREDENTIAL_ALONE = ['gateway 401', 'gateway 401', 'gateway 403', 'gateway 404']

/** Says what it can read of Ambient's own keys: in files, by whatever way, and in processes. */
const thief = (secrets: string) => String.raw`
  for root in '' /proc/[0-9]*/root; do for file in ${secrets}; do
    cat "$root$file" >/dev/null 2>&1 && echo "reads $root$file"
  done; done
  for process in /proc/[0-9]*; do
    tr '\0' '\n' 2>/dev/null <$process/environ |
      sed -nE 's/^(DATABASE_URL|AMBIENT_[A-Z_]*KEY|[A-Z]+_API_KEY=real).*/knows \1/p'
    tr '\0' ' ' 2>/dev/null <$process/cmdline | grep -oE 'main.ts (server|gateway|worker|host)|[p]ostgres -D'
  done
  ${CALLS}`

/** Stops whatever is begun in its container, what the host begins there above all. */
const STOPPER = `setsid sh -c 'cd /proc; while :; do for process in [0-9]*; do
  [ $process = $$ ] || [ $process = 1 ] || kill -STOP $process 2>/dev/null
done; done' &`

/** By name; all of them begin together. `host` is what an attacker could know of the machine. */
const attacks = (host: { victim: string; ports: string; addresses: string; secrets: string }) =>
  ({
    'fork bomb': { script: 'bomb() { bomb | bomb & }; bomb; sleep 2; exit 3' },
    'memory hog': { script: `exec ${NODE} -e 'const all = []; for (;;) all.push(Buffer.alloc(1e7, 1))'` },
    'shared memory': { script: 'head -c 900000000 /dev/zero >/dev/shm/all; stat -c %s /dev/shm/all' },
    'full workspace': { script: 'fallocate -l 300M all; sleep 987', limits: DISK },
    'full home': { script: 'head -c 200000000 /dev/zero >~/all; sleep 987', limits: DISK },
    'full image': { script: 'head -c 200000000 /dev/zero >/var/tmp/all; sleep 987', limits: DISK },
    'full of entries for files': { script: 'seq 40000 | xargs touch; sleep 987', limits: DISK },
    'long line': { script: 'head -c 1000000000 /dev/zero | tr "\\0" x; echo' },
    flood: { script: 'exec yes "$(head -c 1000 /dev/zero | tr "\\0" y)"', limits: { max_transcript_mb: 1 } },
    'end of everything': { script: 'kill -9 -1; sleep 987' },
    daemon: {
      script: `trap '' TERM; setsid sh -c '(trap "" TERM; while :; do sleep 987; done) &'; echo up; while :; do sleep 987; done`,
    },
    'stopper that ends': { script: `echo work >project/work.txt; ${STOPPER} exit 0` },
    'stopper that stays': { script: `echo up; ${STOPPER} sleep 987` },
    'stopper that sets up': { script: `echo up; ${STOPPER} sleep 987`, isSetUp: true },
    'fork bomb that sets up': { script: 'bomb() { bomb | bomb & }; bomb; sleep 2; exit 3', isSetUp: true },
    'full set-up': { script: 'head -c 200000000 /dev/zero >all; sleep 987', limits: DISK, isSetUp: true },
    // What is open is said; a line that says nothing else is a refusal.
    look: {
      script: `
        for path in /var/run/docker.sock /run/docker.sock ${host.victim}; do [ ! -e "$path" ] || echo "sees $path"; done
        cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep '^AMBIENT_RUN=' | grep -vx "AMBIENT_RUN=$AMBIENT_RUN"
        ${NODE} - ${host.addresses} 127.0.0.1 169.254.169.254 -- ${host.ports} 80 <<'END'
          const words = process.argv.slice(2), cut = words.indexOf('--')
          for (const host of words.slice(0, cut)) for (const port of words.slice(cut + 1)) {
            const socket = require('node:net').connect({ host, port, timeout: 3000 }, () => {
              console.log('reaches ' + host + ':' + port)
              socket.destroy()
            })
            socket.on('timeout', () => socket.destroy()).on('error', () => {})
          }
END
        ${CALLS}`,
    },
    'thief in a container': { script: thief(host.secrets) },
    'thief on the bare machine': { script: thief(host.secrets), pool: 'bwrap' },
    strange: {
      script: `
        mkfifo project/fifo fifo; ln -s fifo project/link; mknod device c 1 3 2>/dev/null && echo device
        python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind("socket"); t = socket.socket(socket.AF_UNIX); t.bind("project/socket")'
        cp /bin/sh project/setuid; chmod 6755 project/setuid; chown 0:0 project/setuid 2>/dev/null && echo owner
        mkdir project/closed; echo x >project/closed/x; chmod 000 project/closed; mkdir -p "$(printf 'deep/%.0s' $(seq 500))"
        echo work >project/work.txt`,
    },
    // Whatever is read on the host after the agent has ended could be a link by then.
    links: {
      script: `
        cd project && echo work >work.txt && git config core.hooksPath /workspace/hooks && git config core.fsmonitor 'touch ~/ran'
        ln -s ${host.victim} beside; ln -s ${host.victim} ../beside; ln -sf ${host.victim} ~/.codex
        cat >/tmp/swap.sh <<'END'
          while :; do for files in /run/ambient/jobs/c[!o]*/own /run/ambient/jobs/collect*/own; do
            for name in 0.patch 0.bundle 0.log 0.facts 0.pack exit; do ln -sf ${host.victim} "$files/$name" 2>/dev/null; done
          done; done
END
        setsid sh /tmp/swap.sh >/dev/null 2>&1 &
        sleep 1`,
    },
    'repository that is a link': {
      script: `mv project away; ln -s ${host.victim}/.. project; cd away && rm -rf .git && echo 'gitdir: ${host.victim}' >.git`,
    },
  }) satisfies Record<string, Attack>

/** Backwards, for transcripts hide credentials. */
const TELL_CREDENTIAL = 'echo "$OPENAI_API_KEY" | rev'

let stack: Stack
let repository: SampleRepository
let directory: string
let victim: string
let neighbour: string
let hostPid: number
let memoryBefore: number
let runs: Record<keyof ReturnType<typeof attacks>, string>
const joined: JoinedHost[] = []

async function start({ script: attack, limits = {}, pool, isSetUp }: Attack, env = {}): Promise<string> {
  const command = isSetUp ? ['true'] : ['sh', '-c', `cd /workspace 2>/dev/null\n${attack}`]
  return await stack.start({
    prompt: 'Go',
    config: {
      harness: { type: 'command', command },
      permission_policy: 'allow',
      idle_timeout_minutes: 0,
      ...(pool === undefined ? {} : { worker_host: pool }),
      ...limits,
    },
    environment: {
      repos: [{ url: repository.url, path: 'project' }],
      env,
      ...(isSetUp && { setup_commands: [attack] }),
    },
  })
}

/** A host beside the stack's own, with sandboxes of another kind. */
async function addHost(pool: string, { kind, env }: Pick<NewHost, 'kind' | 'env'>): Promise<JoinedHost> {
  const data = join(directory, `host-${pool}`)
  const host = await joinHost(stack, { kind, pool, agents: AGENT_CACHE, data, ...(env && { env }) })
  joined.push(host)
  return host
}

/** Once it has ended, in one way and for good. */
async function ended(name: keyof typeof runs, ...expected: RunState[]): Promise<RunItem> {
  const runId = runs[name]
  await stack.untilEvent(runId, ({ kind, data }) => kind === 'state' && isTerminal(data.state as RunState))
  const run = await stack.item(runId)
  const states = (await stack.events(runId)).filter(({ kind }) => kind === 'state').map(({ data }) => data.state)
  expect(states.filter((each) => isTerminal(each as RunState))).toEqual([run.state])
  expect(expected).toContain(run.state)
  await expect.poll(() => leftovers(runId)).toEqual([])
  return run
}

const output = async (runId: string) =>
  (await stack.events(runId)).filter(({ kind }) => kind === 'output').map(({ data }) => String(data.text))
async function credentialOf(runId: string): Promise<string> {
  const credential = [...((await output(runId))[0] ?? '')].reverse().join('')
  expect(credential.length).toBeGreaterThan(20)
  return credential
}
const diffOf = async (runId: string) => (await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)).body

const machineAddresses = () =>
  Object.values(networkInterfaces()).flatMap((all) =>
    (all ?? []).flatMap(({ family, address, internal }) => (family === 'IPv4' && !internal ? [address] : [])),
  )

/** The most memory that a process ever had, in bytes. */
async function mostMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * 1024
}

beforeAll(async () => {
  // On a disk, wherever other tests have their files: what lies in memory counts as the container's memory.
  vi.stubEnv('TMPDIR', '/tmp')
  directory = await mkdtemp(join(tmpdir(), 'ambient-hostile-'))
  victim = join(directory, 'victim')
  await writeFile(victim, 'the secret of this machine\n')
  repository = await sampleRepository()
  stack = await startStack({
    host: 'docker',
    env: {
      ...{ AMBIENT_MEMORY_MB: '256', AMBIENT_PIDS: '128', AMBIENT_CPUS: '0.5' },
      AMBIENT_WORKER_KEY: randomBytes(24).toString('base64url'),
    },
  })
  hostPid = await stack.pid('host')
  const bwrap = await addHost('bwrap', { kind: 'direct', env: { AMBIENT_DIRECT_SANDBOX: 'bwrap' } })
  // One that has ended leaves a credential that is worth nothing.
  const former = await start({ script: TELL_CREDENTIAL })
  await stack.until(former, 'SUCCEEDED')
  neighbour = await start({
    script: `${TELL_CREDENTIAL}
      until [ -e /workspace/go ]; do git -C project status >/dev/null && echo step; sleep 1; done; echo work >project/work.txt`,
  })
  await stack.untilEvent(neighbour, ({ kind }) => kind === 'output')
  const env = { OLD_CREDENTIAL: await credentialOf(former), OTHER_CREDENTIAL: await credentialOf(neighbour) }
  memoryBefore = await mostMemory(hostPid)
  const plan = attacks({
    victim,
    ports: Object.entries(stack.env)
      .flatMap(([name, value]) => (name.endsWith('_PORT') ? [value] : []))
      .join(' '),
    addresses: machineAddresses().join(' '),
    secrets: [
      ...['admin-key', 'worker-key', 'vault-keys', 'host-secret'].map((name) => join(stack.data, name)),
      join(bwrap.place.data, 'host-secret'),
    ].join(' '),
  })
  const started = Object.entries(plan).map(async ([name, attack]) => [name, await start(attack, env)])
  runs = Object.fromEntries(await Promise.all(started))
})

afterAll(async () => {
  for (const host of joined) await host.stop()
  await stack?.stop()
  await repository?.remove()
  await rm(directory, { recursive: true, force: true })
})

describe('contained', () => {
  test('a fork bomb', async () => {
    const { failure } = await ended('fork bomb', 'FAILED')
    expect(failure).toMatchObject({ code: 'command_failed' })
  })

  test('a program that takes all the memory', async () => {
    const { failure } = await ended('memory hog', 'FAILED')
    expect(failure).toMatchObject({ code: 'command_failed', message: 'The command ran out of memory and was killed.' })
  })

  test('files in memory', async () => {
    await ended('shared memory', 'SUCCEEDED')
    const lines = await output(runs['shared memory'])
    expect(lines).toContainEqual(expect.stringContaining('No space left on device'))
    expect(Number(lines.at(-1))).toBeLessThanOrEqual(64 * MiB)
  })

  test.each(['workspace', 'home', 'image', 'of entries for files'] as const)(
    'a disk that is filled: %s',
    async (where) => {
      const { failure } = await ended(`full ${where}`, 'FAILED')
      expect(failure).toMatchObject({ code: 'disk_limit', phase: 'turn' })
      // What was over the limit by far before anybody could look is not kept for a follow-up either.
      if (where !== 'workspace') return
      await expect.poll(() => readdir(join(stack.data, 'runs'))).not.toContain(runs['full workspace'])
    },
  )

  test('a line of a gigabyte', async () => {
    await ended('long line', 'SUCCEEDED')
    const said = await stack.events(runs['long line'])
    expect(said.filter(({ kind }) => kind === 'warning')).toMatchObject([{ data: { code: expect.any(String) } }])
  })

  test('output without end', async () => {
    const { failure } = await ended('flood', 'FAILED')
    expect(failure).toMatchObject({ code: 'transcript_limit' })
  })

  test('a program that kills all that it may', async () => {
    // It is tried again as one whose sandbox was lost, or not: by what of it went first.
    const { state, failure } = await ended('end of everything', 'FAILED', 'ERROR')
    expect([state, failure?.code]).toEqual(state === 'ERROR' ? ['ERROR', 'sandbox_lost'] : ['FAILED', 'command_failed'])
  })

  test('daemons that heed no signal, at a cancel', async () => {
    await stack.untilEvent(runs.daemon, ({ kind }) => kind === 'output')
    const before = performance.now()
    await stack.call('POST', `/api/v1/agent/runs/${runs.daemon}/cancel`)
    await ended('daemon', 'CANCELLED')
    expect(performance.now() - before).toBeLessThan(20_000)
  })

  test('a program that stops all others, the host’s too, at a cancel', async () => {
    const runId = runs['stopper that stays']
    await stack.untilEvent(runId, ({ kind }) => kind === 'output')
    const before = performance.now()
    await stack.call('POST', `/api/v1/agent/runs/${runId}/cancel`)
    await ended('stopper that stays', 'CANCELLED')
    expect(performance.now() - before).toBeLessThan(20_000)
  })

  test('set-up commands', async () => {
    const bomb = await ended('fork bomb that sets up', 'FAILED')
    expect(bomb.failure).toMatchObject({ code: 'setup_command_failed' })
    const full = await ended('full set-up', 'FAILED')
    expect(full.failure).toMatchObject({ code: 'disk_limit', phase: 'setup' })

    const runId = runs['stopper that sets up']
    await stack.untilEvent(runId, ({ kind, data }) => kind === 'setup' && data.text === 'up')
    await stack.call('POST', `/api/v1/agent/runs/${runId}/cancel`)
    await ended('stopper that sets up', 'CANCELLED')
  })

  test('a look around: no socket of the daemon, no other run, none of our ports, no model without a credential that is good', async () => {
    await ended('look', 'SUCCEEDED')
    const said = await output(runs.look)
    const reached = said.flatMap((line) => /^reaches .*:(\d+)$/.exec(line)?.[1] ?? [])
    expect(new Set(reached)).toEqual(new Set([stack.env.AMBIENT_GATEWAY_PORT]))
    expect(said.filter((line) => !line.startsWith('reaches'))).toEqual(OWN_CREDENTIAL_ALONE)
  })

  test.each(['in a container', 'on the bare machine'] as const)(
    'a thief %s: no key of the vault, of a process or in a file, and no credential of another run',
    async (where) => {
      await ended(`thief ${where}`, 'SUCCEEDED')
      expect(await output(runs[`thief ${where}`])).toEqual(OWN_CREDENTIAL_ALONE)
    },
  )

  test('pipes, sockets, devices, closed directories and files with rights in the workspace', async () => {
    await ended('strange', 'SUCCEEDED')
    expect(await output(runs.strange)).toEqual([])
    expect(await diffOf(runs.strange)).toContain('+work')
  })

  test('links in the place of what the host reads and collects', async () => {
    await ended('links', 'SUCCEEDED')
    const answers = [await diffOf(runs.links), await stack.events(runs.links), await stack.item(runs.links)]
    expect(JSON.stringify(answers)).not.toContain('the secret of this machine')
  })

  test('a link in the place of the repository itself', async () => {
    const name = 'repository that is a link'
    await ended(name, 'SUCCEEDED')
    expect(await diffOf(runs[name])).not.toContain('the secret of this machine')
  })

  // Last of these: half a minute passes until the host gives up a sandbox in which nothing starts.
  test('a program that stops all others, the host’s too, at the end of its run, whose work is brought home all the same', async () => {
    await ended('stopper that ends', 'SUCCEEDED')
    expect(await diffOf(runs['stopper that ends'])).toContain('+work')
  })
})

describe('unharmed', () => {
  test('a neighbour that was at work all the time', async () => {
    await writeFile(join(stack.data, 'runs', neighbour, 'workspace', 'go'), '')
    const run = await stack.until(neighbour, 'SUCCEEDED')
    expect(run.execution).toBe(1)
    expect(await diffOf(neighbour)).toContain('+work')
  })

  test('the host: the same process, with little more memory than before', async () => {
    expect(await stack.pid('host')).toBe(hostPid)
    expect(await mostMemory(hostPid)).toBeLessThan(memoryBefore + 400 * MiB)
    expect(await leftovers(neighbour, ...Object.values(runs))).toEqual([])
  })

  test('the machine: nothing that was pointed at is changed, and nothing is left elsewhere', async () => {
    expect(await readFile(victim, 'utf8')).toBe('the secret of this machine\n')
    expect(await readdir(directory)).toEqual(['host-bwrap', 'victim'])
    const { stdout } = await execa('df', ['--output=pcent', stack.data])
    expect(Number(/(\d+)%/.exec(stdout)?.[1])).toBeLessThan(95)
  })
})

// By itself, when the others are done: each of its system calls takes longer.
describe.skipIf(!(await hasGvisor()))('under gVisor', () => {
  const KERNEL = 'Starting gVisor'
  let config: object
  beforeAll(async () => {
    const host = await addHost('gvisor', { kind: 'docker', env: { AMBIENT_DOCKER_RUNTIME: GVISOR } })
    config = { worker_host: host.place.pool, permission_policy: 'allow', idle_timeout_minutes: 0 }
  })

  test.concurrent('an agent works in a kernel of its own, reaches its model, and neither this machine nor its cloud', async () => {
    const service = createServer((_request, response) => response.end('reached')).listen(0, '0.0.0.0')
    await once(service, 'listening')
    const { port } = service.address() as AddressInfo
    const urls = ['169.254.169.254', ...machineAddresses().map((address) => `${address}:${port}`)]
    const runId = await stack.start({
      prompt: script(randomUUID(), [
        {
          text: 'I look.',
          shell: `{ dmesg; for url in ${urls.join(' ')}; do curl -s -m 5 "http://$url/"; echo "curl says $?"; done; } >kernel.txt 2>&1`,
        },
        { text: 'Done.' },
      ]),
      config: { ...config, harness: { type: 'codex' } },
      environment: { repos: [{ url: repository.url }] },
    })
    await stack.until(runId, 'SUCCEEDED')
    service.close()
    const diff = await diffOf(runId)
    expect(diff).toContain(KERNEL)
    expect(diff.match(/(?<=curl says )\d+/g)).toEqual(urls.map(() => '7'))
    expect(await leftovers(runId)).toEqual([])
  })

  test.concurrent('a cancel ends programs that heed no signal', async () => {
    const stubborn = `dmesg | head -n 1; trap '' TERM; setsid sh -c 'trap "" TERM; while :; do sleep 987; done' & wait`
    const runId = await stack.start({
      prompt: 'Go',
      config: { ...config, harness: { type: 'command', command: ['sh', '-c', stubborn] } },
      environment: { repos: [] },
    })
    await stack.untilEvent(runId, ({ kind, data }) => kind === 'output' && String(data.text).includes(KERNEL))
    await stack.call('POST', `/api/v1/agent/runs/${runId}/cancel`)
    await stack.until(runId, 'CANCELLED')
    await expect.poll(() => leftovers(runId)).toEqual([])
  })
})
