import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { publicRules } from './firewall.ts'
import { createGuard } from './guard.ts'
import type { Iptables } from './iptables.ts'

/** A packet filter that knows as much of its language as is spoken to it. */
function packetFilter() {
  let tables = [
    '*filter',
    ':INPUT ACCEPT [0:0]',
    ':FORWARD DROP [0:0]',
    ':DOCKER-USER - [0:0]',
    '-A FORWARD -j DOCKER-USER',
    '-A INPUT -j ACCEPT',
  ]
  let isBroken = false
  const change = (line: string) => {
    const [verb, chain = '', ...rest] = line.split(' ')
    if (line.startsWith(':'))
      tables = [
        ...tables.filter((each) => !each.startsWith(`-A ${line.slice(1).split(' ')[0]} `)),
        ...(tables.includes(line) ? [] : [line]),
      ]
    else if (verb === '-A') tables.push(line)
    else if (verb === '-D') tables = tables.filter((each) => each !== line.replace('-D', '-A'))
    else if (verb === '-I') {
      const first = tables.findIndex((each) => each.startsWith(`-A ${chain} `))
      const text = rest[0] === '1' ? rest.slice(1) : rest
      tables.splice(first === -1 ? tables.length : first, 0, ['-A', chain, ...text].join(' '))
    } else throw new Error(`not known here: ${line}`)
  }
  const iptables: Iptables = {
    way: 'process',
    async save() {
      if (isBroken) throw new Error('the tables are locked')
      return `${tables.join('\n')}\nCOMMIT\n`
    },
    async restore(rules) {
      for (const line of rules.split('\n').slice(1, -2)) change(line)
    },
  }
  const rules = (chain: string) =>
    tables.filter((line) => line.startsWith(`-A ${chain} `)).map((line) => line.slice(chain.length + 4))
  return {
    iptables,
    rules,
    break(now: boolean) {
      isBroken = now
    },
    forget(text: string) {
      tables = tables.filter((line) => !line.includes(text))
    },
  }
}

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-guard-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const guardOf = (filter: ReturnType<typeof packetFilter>, host = directory) => {
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() }
  return {
    log,
    guard: createGuard({ open: async () => filter.iptables, host, log, lookMs: { process: 10, container: 10 } }),
  }
}
const network = {
  bridge: 'br-1',
  chain: 'AMBIENT-1',
  rules: publicRules(['10.1.2.0/24', '192.168.1.10']),
  leadsToGateway: true,
}

test('what is allowed comes before what is closed, and this machine is opened by its own address alone', async () => {
  const filter = packetFilter()
  await guardOf(filter).guard.keep(network)
  const order = [
    '192.168.1.10',
    '! --dst-type UNICAST',
    '10.1.2.0/24',
    '10.0.0.0/8',
    '169.254.0.0/16',
    '192.168.0.0/16',
  ]
  const places = order.map((text) => filter.rules('AMBIENT-1').findIndex((rule) => rule.includes(text)))
  expect(places).toEqual([...places].sort((a, b) => a - b))
  expect(places).not.toContain(-1)
  for (const hook of ['INPUT', 'DOCKER-USER']) expect(filter.rules(hook)[0]).toMatch(/^-i br-1 .*-j AMBIENT-1$/)
})

test('a rule that came to stand before it is passed over again', async () => {
  const filter = packetFilter()
  const { guard } = guardOf(filter)
  await guard.keep(network)
  await filter.iptables.restore('*filter\n-I INPUT 1 -p tcp -j ACCEPT\nCOMMIT\n')
  await expect
    .poll(() => filter.rules('INPUT').map((rule) => rule.split(' ').at(-1)))
    .toEqual(['AMBIENT-1', 'ACCEPT', 'ACCEPT'])
})

test('the way to a gateway is replaced with it, and removed with the directory of its host', async () => {
  const filter = packetFilter()
  const { guard } = guardOf(filter)
  const gone = guardOf(filter, '/no/such/directory')
  await gone.guard.keep(network)
  await gone.guard.setGateway('http://192.0.2.1:1')
  await guard.keep(network)
  await guard.setGateway('http://192.0.2.2:2')
  await guard.setGateway('https://192.0.2.3')
  const ways = () => filter.rules('AMBIENT-1').filter((rule) => rule.includes('192.0.2.'))
  expect(ways()).toEqual([expect.stringMatching(/^-d 192\.0\.2\.3 -p tcp -m tcp --dport 443 /)])
})

test('two daemons of one machine may have a network of the same name', async () => {
  const filter = packetFilter()
  const [one, two] = [guardOf(filter), guardOf(filter)]
  await one.guard.keep(network)
  await two.guard.keep({ ...network, bridge: 'br-2' })
  filter.forget('-i br-1')
  await expect
    .poll(() =>
      filter
        .rules('INPUT')
        .slice(0, 2)
        .map((rule) => rule.split(' ')[1])
        .sort(),
    )
    .toEqual(['br-1', 'br-2'])
})

test('while the rules may not stand it says so, until they do', async () => {
  const filter = packetFilter()
  const { guard, log } = guardOf(filter)
  await guard.keep(network)
  expect(guard.trouble()).toBeNull()
  filter.break(true)
  await expect.poll(guard.trouble).toBe('the tables are locked')
  expect(log.error).toHaveBeenCalled()
  filter.break(false)
  await expect.poll(guard.trouble).toBeNull()
})

test('rules that could not be set are not taken for set', async () => {
  const filter = packetFilter()
  const { guard } = guardOf(filter)
  filter.break(true)
  await expect(guard.keep(network)).rejects.toThrow('the tables are locked')
  await expect(guard.keep(network)).rejects.toThrow('the tables are locked')
  filter.break(false)
  await guard.keep(network)
  expect(filter.rules('AMBIENT-1')).not.toEqual([])
})

test('a change that another host made impossible meanwhile is made anew', async () => {
  const filter = packetFilter()
  const { restore } = filter.iptables
  let refusals = 3
  filter.iptables.restore = async (rules) => {
    if (refusals-- > 0) throw new Error('Bad rule (does a matching rule exist in that chain?)')
    await restore(rules)
  }
  const { guard } = guardOf(filter)
  await guard.keep(network)
  expect(filter.rules('AMBIENT-1')).not.toEqual([])
  expect(guard.trouble()).toBeNull()
  refusals = Number.POSITIVE_INFINITY
  await expect(guard.keep({ ...network, rules: [] })).rejects.toThrow('Bad rule')
})
