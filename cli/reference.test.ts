import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { page, withReference } from './reference.ts'

test('docs/cli.md agrees with the commands (bin/node cli/reference.ts writes it)', () => {
  const text = readFileSync(page, 'utf8')
  expect(text).toBe(withReference(text))
})
