import { expect, test } from 'vitest'
import { gatewayAddresses } from './gateway-addresses.ts'

test('the gateway listens on this machine alone, and on what it is told to beside it', () => {
  expect(gatewayAddresses('')).toEqual(['127.0.0.1'])
  expect(gatewayAddresses('172.18.0.1, 127.0.0.1,172.18.0.1')).toEqual(['127.0.0.1', '172.18.0.1'])
})

test.each(['0.0.0.0', '::', '0.0.0.0,172.18.0.1'])('with %s there is nothing beside it', (bind) => {
  expect(gatewayAddresses(bind)).toEqual([bind.split(',')[0]])
})
