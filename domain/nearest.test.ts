import { expect, test } from 'vitest'
import { nearest } from './nearest.ts'

const settings = ['AMBIENT_PORT', 'AMBIENT_POOL', 'AMBIENT_CAPACITY', 'AMBIENT_GATEWAY_PORT']

test.each([
  ['AMBIENT_CAPCITY', 'AMBIENT_CAPACITY'],
  ['AMBIENT_PROT', 'AMBIENT_PORT'],
  ['AMBIENT_GATEWAYPORT', 'AMBIENT_GATEWAY_PORT'],
  ['AMBIENT_CAPACITIES', 'AMBIENT_CAPACITY'],
  ['AMBIENT_SOMETHING_ELSE', null],
  ['PATH', null],
])('%s is taken for %s', (name, meant) => {
  expect(nearest(name, settings)).toBe(meant)
})

test.each([
  ['shwo', 'show'],
  ['permissionPolicy', 'permission_policy'],
  ['permision_polcy', 'permission_policy'],
  ['team', null],
])('%s is taken for %s', (name, meant) => {
  expect(nearest(name, ['show', 'permission_policy', 'env'])).toBe(meant)
})
