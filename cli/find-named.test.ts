import { expect, test } from 'vitest'
import { findNamed } from './find-named.ts'

const teams = [
  { uid: 'a', name: 'Blue' },
  { uid: 'b', name: 'Blue' },
  { uid: 'Blue-1', name: 'Red' },
]
const find = (given: string) => findNamed(teams, given, { one: 'team', all: 'teams' }, (team) => team)

test('a uid or a name finds the one that has it, and a name of several none', () => {
  expect([find('b'), find('Red')]).toEqual([teams[1], teams[2]])
  expect(() => find('Blue')).toThrow('Several teams are called Blue: a, b.')
  expect(() => find('Reed')).toThrow(expect.objectContaining({ hint: 'Did you mean Red?' }))
})
