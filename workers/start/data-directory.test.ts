import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeDataDirectory } from './data-directory.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ambient-data-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

test('a directory is made with all that leads to it, and others may only pass', () => {
  const data = join(directory, 'a', 'b')
  makeDataDirectory(data)
  expect(statSync(data).mode & 0o777).toBe(0o711)
  makeDataDirectory(data)
})

test.each([
  ['a file', 'file', /it is a file/],
  ['a path below a file', 'file/data', /a part of the path is a file/],
  ['a link to nothing', 'link', /nothing can be made there|no such file/],
])('%s is refused with the name of the setting and what to do', (_, path, reason) => {
  writeFileSync(join(directory, 'file'), '')
  symlinkSync('/no/such/place', join(directory, 'link'))
  const attempt = () => makeDataDirectory(join(directory, path))
  expect(attempt).toThrow(reason)
  expect(attempt).toThrow(/^AMBIENT_DATA is .* Set it to a directory/)
})

test.runIf(process.platform === 'linux')('a place where nothing can be made is refused at once', () => {
  expect(() => makeDataDirectory('/proc/none/data')).toThrow(
    /^AMBIENT_DATA is \/proc\/none\/data, .*nothing can be made/,
  )
})
