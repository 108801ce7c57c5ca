import { lookup } from 'node:dns'
import { expect, test } from 'vitest'
import { onlyTo } from './only-to.ts'

const closed = (hostname: string) => new Error(`${hostname} is closed`)

/** What a connection to the name would be told. */
function told(hostname: string, mayReach: (address: string) => boolean, all: boolean): Promise<unknown[]> {
  const { promise, resolve } = Promise.withResolvers<unknown[]>()
  onlyTo(mayReach, lookup, closed)(hostname, { all }, (...answer) => resolve(answer))
  return promise
}

test('a name that is not known is an error of the one connection', async () => {
  for (const all of [true, false]) {
    const [error] = await told('nothing-here.invalid', () => true, all)
    expect(error).toMatchObject({ syscall: 'getaddrinfo' })
  }
})

test('an address that may not be reached is not connected to', async () => {
  expect(await told('127.0.0.1', () => false, true)).toEqual([closed('127.0.0.1'), [], 0])
  expect(await told('127.0.0.1', () => false, false)).toEqual([closed('127.0.0.1'), '', 0])
})

test('one that may is given as it was asked for', async () => {
  expect(await told('127.0.0.1', () => true, true)).toEqual([null, [{ address: '127.0.0.1', family: 4 }]])
  expect(await told('127.0.0.1', () => true, false)).toEqual([null, '127.0.0.1', 4])
})
