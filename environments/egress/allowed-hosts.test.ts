import { expect, test } from 'vitest'
import { isAllowed } from './allowed-hosts.ts'

const allow = ['registry.example.org', '*.cdn.example', 'git.example.org:22', '198.51.100.7', '[2001:db8::7]:8443']

test.each([
  ['registry.example.org', 443],
  ['registry.example.org', 80],
  ['Registry.Example.ORG.', 443],
  ['a.cdn.example', 443],
  ['a.b.cdn.example', 80],
  ['git.example.org', 22],
  ['198.51.100.7', 80],
  ['2001:db8::7', 8443],
])('%s:%i is let through', (host, port) => {
  expect(isAllowed(host, port, allow)).toBe(true)
})

test.each([
  ['example.org', 443],
  ['sub.registry.example.org', 443],
  ['registry.example.org.evil.example', 443],
  ['evilregistry.example.org', 443],
  ['registry.example.org', 22],
  ['cdn.example', 443],
  ['evilcdn.example', 443],
  ['git.example.org', 443],
  ['198.51.100.70', 80],
  ['2001:db8::7', 443],
  ['', 443],
])('%s:%i is not', (host, port) => {
  expect(isAllowed(host, port, allow)).toBe(false)
})

test('an empty list lets nothing through', () => {
  expect(isAllowed('registry.example.org', 443, [])).toBe(false)
})
