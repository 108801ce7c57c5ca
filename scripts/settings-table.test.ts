import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { root, Settings } from '../config.ts'
import { settingsPage, settingsTable, withTable } from './settings-table.ts'

test('the page of settings agrees with the settings (bin/node scripts/settings-table.ts writes it)', () => {
  const page = readFileSync(settingsPage, 'utf8')
  expect(page).toBe(withTable(page))
})

test('every setting is in the table, with a description, and no path of this machine', () => {
  const table = settingsTable()
  for (const name of Object.keys(Settings.shape)) {
    expect(table).toMatch(new RegExp(`^\\| \`${name}\` +\\| [^|]* \\| [A-Z].+ \\|$`, 'm'))
  }
  expect(table).not.toContain(root)
  expect(table).toMatch(/\| `AMBIENT_DATA` +\| `\.ambient` +\|/)
})
