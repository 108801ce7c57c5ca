import { networkInterfaces } from 'node:os'
import { expect, test } from 'vitest'
import { isClosed } from './addresses.ts'

test.each([
  ...['169.254.169.254', '10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1', '100.100.100.200'],
  ...['127.0.0.1', '127.8.8.8', '0.0.0.0', '168.63.129.16', '192.0.0.192', '224.0.0.251', '255.255.255.255'],
  ...[
    '::',
    '::1',
    'fd00:ec2::254',
    'fc00::1',
    'fe80::1',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '64:ff9b::a9fe:a9fe',
  ],
  ...['2002:a9fe:a9fe::1', '2001:0:a9fe:a9fe::1', 'ff02::1', 'no address', ''],
])('%s is closed', (address) => {
  expect(isClosed(address, [])).toBe(true)
})

test.each(['1.1.1.1', '172.15.0.1', '172.32.0.1', '100.63.0.1', '192.169.0.1', '203.0.113.7', '2606:4700::1111'])(
  '%s is open',
  (address) => {
    expect(isClosed(address, [])).toBe(false)
  },
)

test('a range that is allowed is open, and what is beside it is not', () => {
  const allowed = ['10.1.2.0/24', 'fd12:3456::/32', '192.168.7.7']
  expect(['10.1.2.9', 'fd12:3456::1', '192.168.7.7'].map((address) => isClosed(address, allowed))).toEqual([
    false,
    false,
    false,
  ])
  expect(['10.1.3.9', 'fd13::1', '192.168.7.8'].map((address) => isClosed(address, allowed))).toEqual([
    true,
    true,
    true,
  ])
})

test('this machine is closed by any of its addresses, but for one that is allowed by itself', () => {
  const own = Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? [])
  expect(own.filter((address) => !isClosed(address, ['0.0.0.0/0']))).toEqual([])
  expect(isClosed('127.0.0.1', ['127.0.0.1/32'])).toBe(false)
})
