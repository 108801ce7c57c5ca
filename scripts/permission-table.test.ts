import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { permissionsPage, withTable } from './permission-table.ts'

test('docs/permissions.md has every action as it is', () => {
  const page = readFileSync(permissionsPage, 'utf8')
  expect(page, 'bin/node scripts/permission-table.ts writes the table').toBe(withTable(page))
})
