// What sandboxes reach, from inside of real ones. The outside is a network namespace of this machine.
import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import Docker from 'dockerode'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../../config.ts'
import { createHost } from '../create-host.ts'
import type { CLOSED_RANGES } from '../egress/addresses.ts'
import type { Host, Sandbox } from '../host.ts'
import { publicRules } from './firewall.ts'
import { createGuard } from './guard.ts'
import { createDockerHost } from './host.ts'
import { openIptables } from './iptables.ts'
import { type EgressPolicy, ensureNetwork, joined, networkHolder, networkName, PUBLIC } from './network.ts'

const run = promisify(execFile)
const log = pino({ level: 'silent' })
const docker = new Docker()
const IMAGE = 'ambient-base:latest'

/** A machine of the internet, a private one, and a cloud's metadata service: all behind one cable. */
const OUTSIDE = '198.51.100.66'
const PRIVATE = '10.213.7.7'
const METADATA = '169.254.169.254'
/** What is there on Azure's machines, whose names it resolves: the way to it stays as it is. */
const AZURE = '168.63.129.16'
/** One of each closed range, but for those whose addresses no machine has towards others. */
const CLOSED_ADDRESSES = {
  '10.0.0.0/8': PRIVATE,
  '100.64.0.0/10': '100.77.213.7',
  '169.254.0.0/16': METADATA,
  '168.63.129.16/32': AZURE,
  '172.16.0.0/12': '172.29.213.7',
  '192.0.0.0/24': '192.0.0.192',
  '192.168.0.0/16': '192.168.213.7',
  '198.18.0.0/15': '198.19.213.7',
  '240.0.0.0/4': '240.213.7.7',
} satisfies Record<Exclude<(typeof CLOSED_RANGES)[number], '0.0.0.0/8' | '127.0.0.0/8' | '224.0.0.0/4'>, string>
const CLOSED = Object.values(CLOSED_ADDRESSES)
const BEHIND_CABLE = CLOSED.filter((address) => address !== AZURE)
/** This machine, as its neighbours know it. */
const MACHINE = '198.51.100.65'
const NAMESPACE = `ambient-${process.pid}`
const CABLE = `amb${process.pid}`.slice(0, 14)

const SERVE = `require('http').createServer((q, r) => r.end('outside ' + q.headers.host)).listen(80, () => console.log('up'))`

const ways = ['made for it', 'made ahead'] as const
type Way = (typeof ways)[number]

/** A policy of the tests' own: its network is theirs alone. */
const OPENED: EgressPolicy = { mode: 'public', allow: ['10.213.0.0/16'] }

describe.skipIf(process.getuid?.() !== 0)('the network of sandboxes', () => {
  let directory: string
  const services: http.Server[] = []
  const hosts: Host[] = []
  const runs: [Host, string][] = []
  let outside: ReturnType<typeof spawn>

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ambient-egress-'))
    const ip = (...args: string[]) => run('ip', args)
    await ip('netns', 'add', NAMESPACE)
    await ip('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', NAMESPACE)
    await ip('address', 'add', `${MACHINE}/30`, 'dev', CABLE)
    await ip('link', 'set', CABLE, 'up')
    const there = (...args: string[]) => ip('-n', NAMESPACE, ...args)
    for (const address of [`${OUTSIDE}/30`, ...BEHIND_CABLE.map((each) => `${each}/32`)])
      await there('address', 'add', address, 'dev', 'eth0')
    await there('link', 'set', 'eth0', 'up')
    await there('route', 'add', 'default', 'via', MACHINE)
    for (const address of BEHIND_CABLE) await ip('route', 'add', address, 'via', OUTSIDE)
    outside = spawn('ip', ['netns', 'exec', NAMESPACE, process.execPath, '-e', SERVE], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(outside.stdout as NodeJS.ReadableStream, 'data')
  })
  afterEach(async () => {
    for (const [host, runId] of runs.splice(0)) await host.remove(runId)
    for (const service of services.splice(0)) service.close()
  })
  afterAll(async () => {
    outside?.kill('SIGKILL')
    await run('ip', ['netns', 'del', NAMESPACE])
    await run('ip', ['link', 'del', CABLE]).catch(() => {}) // It goes with its other end.
    await rm(directory, { recursive: true, force: true })
    await docker
      .getNetwork(networkName({ mode: 'open', allow: [] }))
      .remove()
      .catch(() => {}) // It may be in use elsewhere.
    const { bridge } = await ensureNetwork(docker, networkName(OPENED))
    await docker.getNetwork(networkName(OPENED)).remove()
    // What is left of its rules: they are harmless, and are nobody's.
    const saved = (await run('iptables-save', ['-t', 'filter'])).stdout.split('\n')
    const hooks = saved.filter(
      (line) => line.startsWith('-A ') && line.includes(` -i ${bridge} `) && line.includes(' -j AMBIENT-'),
    )
    for (const hook of hooks) await run('sh', ['-c', `iptables ${hook.replace('-A ', '-D ')}`])
    for (const chain of new Set(hooks.map((hook) => hook.split(' -j ')[1])))
      await run('sh', ['-c', `iptables -F ${chain}; iptables -X ${chain}`])
  })

  async function hostOf(policy: EgressPolicy, name: string = policy.mode, spareNetworks = 0): Promise<Host> {
    const limits = { memoryMb: 512, cpus: 2, pids: 256 }
    const runsDirectory = join(directory, name)
    const host = await createDockerHost({
      runsDirectory,
      nodePath: process.execPath,
      image: IMAGE,
      limits,
      log,
      egress: policy,
      spareNetworks,
    })
    hosts.push(host)
    return host
  }

  async function open(host: Host, allow?: string[]): Promise<Sandbox> {
    const runId = randomUUID()
    runs.push([host, runId])
    return host.open({ runId, generation: 1, image: null, toolkit: null, egress: allow && { allow } })
  }

  /** Two, each in a network of its own, or in one that was made ahead. */
  async function openTwo(policy: EgressPolicy, way: Way): Promise<[Host, Sandbox, Sandbox]> {
    const name = way === 'made ahead' ? `${policy.mode}-ahead` : policy.mode
    const host = await hostOf(policy, name, way === 'made ahead' ? 2 : 0)
    if (way === 'made ahead') {
      await open(host)
      const filters = { label: [`ambient.spare-of=${join(directory, name)}`], status: ['running'] }
      await expect.poll(() => docker.listContainers({ filters })).toHaveLength(2)
    }
    const two: [Sandbox, Sandbox] = [await open(host), await open(host)]
    for (const { runId } of two) {
      const { HostConfig } = await docker.getContainer(`ambient-${runId}-1`).inspect()
      expect(joined(HostConfig.NetworkMode) !== null).toBe(way === 'made ahead')
    }
    return [host, ...two]
  }

  /** A service of this machine that listens on all of its addresses. */
  async function service(): Promise<number> {
    const server = http.createServer((request, response) => response.end(`machine ${request.url}`))
    services.push(server)
    await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
    return (server.address() as AddressInfo).port
  }

  async function output(sandbox: Sandbox, script: string): Promise<string[]> {
    const job = await sandbox.job({ id: randomUUID(), command: ['/bin/sh', '-c', script], env: {}, cwd: '/' })
    const lines: string[] = []
    for await (const page of job.read(0, AbortSignal.timeout(60_000))) lines.push(...page.map(({ text }) => text))
    return lines
  }

  /** What becomes of a request to each address: a status, or why there is none, told by curl's exit code. */
  async function reached(sandbox: Sandbox, addresses: string[]): Promise<Record<string, string>> {
    const each = 'code=$(curl -s -m 2 -o /dev/null -w "%{http_code}" "http://$url/"); echo "$url $code $?"'
    const lines = await output(sandbox, `for url in ${addresses.join(' ')}; do ${each}; done`)
    return Object.fromEntries(
      lines.map((line) => {
        const [address = '', status = '', code = ''] = line.split(' ')
        return [address, code === '0' ? status : code === '7' ? 'refused' : `curl ${code}`]
      }),
    )
  }

  test.each(ways)(
    '%s, is closed by default to metadata, private networks and this machine, but for the gateway',
    async (way) => {
      const [host, one, another] = await openTwo(PUBLIC, way)
      const [other, gateway] = [await service(), await service()]
      await host.setGateway(`http://${host.loopback}:${gateway}`)
      expect(host.egress()).toBe('public')
      const here = [`${host.loopback}:${other}`, `${MACHINE}:${other}`, `${MACHINE}:${gateway}`]
      const closed = [...CLOSED, ...here]
      // The kernel tells each sandbox six refusals at once, and then one a second.
      const found = await Promise.all([
        reached(one, closed.slice(0, 6)),
        reached(another, [...closed.slice(6), OUTSIDE, `${host.loopback}:${gateway}`]),
      ])
      expect(Object.assign({}, ...found)).toEqual({
        ...Object.fromEntries(closed.map((address) => [address, 'refused'])),
        [OUTSIDE]: '200',
        [`${host.loopback}:${gateway}`]: '200',
      })
    },
  )

  test.each(ways)('%s, has all of that when it is opened; a neighbour stays out of reach', async (way) => {
    const [host, sandbox, neighbour] = await openTwo({ mode: 'open', allow: [] }, way)
    expect(host.egress()).toBe('open')
    const other = await service()
    const info = await docker.getContainer(`ambient-${neighbour.runId}-1`).inspect()
    const holder = await networkHolder(docker, info, 'workspace')
    const address = Object.values(holder?.NetworkSettings.Networks ?? {})[0]?.IPAddress ?? ''
    const listening = output(
      neighbour,
      `/opt/ambient/node -e "require('http').createServer((q, r) => r.end()).listen(8080)"`,
    )
    await expect
      .poll(() =>
        fetch(`http://${address}:8080/`).then(
          ({ status }) => status,
          () => null,
        ),
      )
      .toBe(200)
    const all = [...BEHIND_CABLE, OUTSIDE, `${host.loopback}:${other}`, `${MACHINE}:${other}`]
    expect(await reached(sandbox, [...all, `${address}:8080`])).toEqual({
      ...Object.fromEntries(all.map((each) => [each, '200'])),
      [`${address}:8080`]: 'curl 28',
    })
    await host.stop(neighbour.runId)
    await listening
  })

  test('opens the private ranges that are allowed, and no others; this machine only by its address', async () => {
    const host = await hostOf(OPENED, 'opened')
    const other = await service()
    const sandbox = await open(host)
    expect(await reached(sandbox, [PRIVATE, METADATA, `${host.loopback}:${other}`])).toEqual({
      [PRIVATE]: '200',
      [METADATA]: 'refused',
      [`${host.loopback}:${other}`]: 'refused',
    })
  })

  test('is closed again soon after its rules were removed, and has each rule once however often they are set', async () => {
    const network = await ensureNetwork(docker, networkName(OPENED))
    const guard = createGuard({
      open: (bridge) => openIptables(docker, bridge, IMAGE),
      host: directory,
      log,
      lookMs: { process: 50, container: 50 },
    })
    const rules = { bridge: network.bridge, chain: 'AMBIENT-test', rules: publicRules([]), leadsToGateway: true }
    const ours = async () =>
      (await run('iptables-save', ['-t', 'filter'])).stdout.split('\n').filter((line) => line.includes('AMBIENT-test'))
    await guard.keep(rules)
    await guard.setGateway('http://192.0.2.77:8421')
    const whole = await ours()
    expect(whole.filter((line) => line.startsWith('-A INPUT') || line.startsWith('-A DOCKER-USER'))).toHaveLength(2)
    expect(whole.filter((line) => line.includes('192.0.2.77/32'))).toHaveLength(1)
    await guard.keep(rules)
    expect(await ours()).toEqual(whole)
    // What a firewall that is loaded anew does to the rules of others.
    await run('iptables', ['-F', 'AMBIENT-test'])
    await run('iptables', [
      '-D',
      'INPUT',
      '-i',
      network.bridge,
      '-m',
      'comment',
      '--comment',
      'ambient sandboxes',
      '-j',
      'AMBIENT-test',
    ])
    await expect.poll(ours).toEqual(expect.arrayContaining(whole))
    expect(await ours()).toHaveLength(whole.length)
    await guard.drop('AMBIENT-test')
    expect(await ours()).toEqual([])
  })

  test("whoever may not change the packet filter has the machine's own do it, in a container", async () => {
    const iptables = await openIptables(docker, 'not-on-this-machine', IMAGE)
    expect(iptables.way).toBe('container')
    await iptables.restore('*filter\n:AMBIENT-tried - [0:0]\nCOMMIT\n')
    expect((await iptables.save()).includes(':AMBIENT-tried ')).toBe(true)
    await iptables.restore('*filter\n-X AMBIENT-tried\nCOMMIT\n')
    await expect(iptables.restore('*filter\nnonsense\nCOMMIT\n')).rejects.toThrow('nonsense')
    await expect(openIptables(docker, 'not-on-this-machine', 'ambient-no-such-image')).rejects.toThrow(
      'ambient-no-such-image',
    )
  })

  test('two hosts share it, each with its own way to its gateway', async () => {
    const [one, two] = [await hostOf(PUBLIC, 'one'), await hostOf(PUBLIC, 'two')]
    const [first, second] = [await service(), await service()]
    await one.setGateway(`http://${one.loopback}:${first}`)
    await two.setGateway(`http://${two.loopback}:${second}`)
    const url = (port: number) => `${one.loopback}:${port}`
    expect(await reached(await open(one), [url(first), METADATA])).toEqual({
      [url(first)]: '200',
      [METADATA]: 'refused',
    })
    expect(await reached(await open(two), [url(second), METADATA])).toEqual({
      [url(second)]: '200',
      [METADATA]: 'refused',
    })
  })

  describe('with a list of the hosts that an environment may reach', () => {
    const status = 'curl -s -m 5 -o /dev/null -w "%{http_code}\\n"'

    test('leads to these through the proxy and to nothing else, and the run is told', async () => {
      const host = await hostOf(PUBLIC, 'listed')
      const [other, gateway] = [await service(), await service()]
      await host.setGateway(`http://${host.loopback}:${gateway}`)
      const sandbox = await open(host, [OUTSIDE, 'localhost', PRIVATE])
      const proxied = [OUTSIDE, 'evil.example', METADATA, 'localhost', PRIVATE]
      expect(await reached(sandbox, proxied)).toEqual({
        // Not the sandbox's own localhost is meant by whoever asks a proxy: curl asks none.
        ...{ [OUTSIDE]: '200', 'evil.example': '403', [METADATA]: '403', localhost: 'refused', [PRIVATE]: '403' },
      })
      const tunnel = `${status} --proxytunnel`
      expect(
        await output(
          sandbox,
          `${tunnel} http://${OUTSIDE}/; ${tunnel} https://evil.example/; ${tunnel} --noproxy "" http://localhost/`,
        ),
      ).toEqual(['200', '000', '000'])
      // Around the proxy there is nothing.
      const around = '--noproxy "*"'
      expect(
        await output(
          sandbox,
          `for a in ${OUTSIDE} ${METADATA} ${MACHINE}:${other} ${host.loopback}:${other} ${host.loopback}:${gateway}; do ${status} ${around} http://$a/; echo $?; done`,
        ),
      ).toEqual(Array.from({ length: 5 }, () => ['000', '7']).flat())
      expect(await output(sandbox, `${status} ${around} ${sandbox.gateway}/x`)).toEqual(['200'])
      // No name leaves the machine; the sandbox's own is known.
      expect(
        await output(sandbox, 'getent hosts example.org; echo $?; getent hosts $(hostname) >/dev/null; echo $?'),
      ).toEqual(['2', '0'])
      await expect
        .poll(async () =>
          (await host.blockedHosts(sandbox.runId, 1)).map(({ host: name, port, count }) => `${name}:${port} ${count}`),
        )
        .toEqual(['evil.example:80 1', `${METADATA}:80 1`, `${PRIVATE}:80 1`, 'evil.example:443 1', 'localhost:80 1'])
    })

    test('goes on when the host is started again, and leaves nothing when the last such sandbox has ended', async () => {
      const host = await hostOf(PUBLIC, 'again')
      const sandbox = await open(host, [OUTSIDE])
      const later = await hostOf(PUBLIC, 'again')
      const gateway = await service()
      await later.setGateway(`http://${later.loopback}:${gateway}`)
      const found = await later.find(sandbox.runId, 1)
      // Under the addresses that its programs were started with.
      expect(found?.gateway).toBe(sandbox.gateway)
      expect(await reached(sandbox, [OUTSIDE, METADATA])).toEqual({ [OUTSIDE]: '200', [METADATA]: '403' })
      expect(await output(sandbox, `${status} ${sandbox.gateway}/x`)).toEqual(['200'])
      await expect
        .poll(async () => (await later.blockedHosts(sandbox.runId, 1)).map(({ host: name }) => name))
        .toEqual([METADATA])

      // The proxy, too, comes back where it was. Its container has the name of the network.
      const info = await docker.getContainer(`ambient-${sandbox.runId}-1`).inspect()
      const network = Object.keys(info.NetworkSettings.Networks)[0] ?? ''
      const pid = async () => (await docker.getContainer(network).inspect()).State.Pid
      const former = await pid()
      process.kill(former, 'SIGKILL')
      await expect.poll(pid).not.toBe(former)
      await expect.poll(() => reached(sandbox, [OUTSIDE])).toEqual({ [OUTSIDE]: '200' })

      for (const [, runId] of runs.splice(0)) await later.remove(runId)
      await expect(docker.getContainer(network).inspect()).rejects.toThrow('404')
      await expect(docker.getNetwork(network).inspect()).rejects.toThrow('404')
    })

    test('leaves nothing on a machine that works without containers from then on', async () => {
      const host = await hostOf(PUBLIC, 'switched/runs')
      const sandbox = await open(host, [OUTSIDE])
      const info = await docker.getContainer(`ambient-${sandbox.runId}-1`).inspect()
      const network = Object.keys(info.NetworkSettings.Networks)[0] ?? ''
      const startDirect = () =>
        createHost(loadConfig({ AMBIENT_HOST: 'direct', AMBIENT_DATA: join(directory, 'switched') }), log)
      await startDirect()
      await expect(docker.getContainer(network).inspect()).rejects.toThrow('404')
      await docker.getContainer(`ambient-${sandbox.runId}-1`).remove({ force: true })
      await startDirect()
      await expect(docker.getNetwork(network).inspect()).rejects.toThrow('404')
    })
  })
})
