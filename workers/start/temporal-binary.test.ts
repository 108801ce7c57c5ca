import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findTemporal } from './temporal-binary.ts'

let directory: string
let said: string[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ambient-ladder-'))
  said = []
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const server = '#!/bin/sh\necho "Flags: --db-filename string"\n'
const somethingElse = '#!/bin/sh\necho "A program of the same name"\n'

function program(path: string, script: string): string {
  const file = join(directory, path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, script)
  chmodSync(file, 0o755)
  return file
}

/** No network: every download meets a closed port. */
const find = (env: Record<string, string> = {}) =>
  findTemporal({
    paths: { bin: join(directory, 'own') },
    env: { HTTPS_PROXY: 'http://127.0.0.1:9', PATH: `${directory}/first:${directory}/second:/usr/bin:/bin`, ...env },
    say: (line) => said.push(line),
  })

test('a program on PATH comes first, and nothing is said about it', async () => {
  const onPath = program('second/temporal', server)
  program('own/temporal', server)
  expect(await find()).toBe(onPath)
  expect(said).toEqual([])
})

test('a program on PATH that is something else is passed over', async () => {
  program('first/temporal', somethingElse)
  const own = program('own/temporal', server)
  expect(await find()).toBe(own)
})

test('without a program and without a download, Go builds one into our own directory', async () => {
  program(
    'first/go',
    `#!/bin/sh\n[ "$1" = install ] || exit 9\nprintf '%s' '${server}' > "$GOBIN/temporal"\nchmod +x "$GOBIN/temporal"\n`,
  )
  expect(await find()).toBe(join(directory, 'own', 'temporal'))
  expect(readdirSync(join(directory, 'own'))).toEqual(['temporal'])
  expect(said).toEqual([
    "temporal on PATH: not there; temporal in Ambient's own directory: not there; next: download of temporal v1.5.1",
    'downloading temporal v1.5.1 (once)',
    expect.stringMatching(
      /^download of temporal v1\.5\.1: .+; next: go install github\.com\/temporalio\/cli\/cmd\/temporal@v1\.5\.1$/,
    ),
    'building temporal from source with Go: several minutes, once',
  ])
})

test('when nothing helps, every reason is told, and what to do', async () => {
  program('first/temporal', somethingElse)
  program('first/go', '#!/bin/sh\necho "go: no network" >&2\nexit 1\n')
  const error = await find().catch((reason: Error) => reason.message)
  expect(error).toContain(`temporal on PATH: ${directory}/first/temporal cannot start a development server`)
  expect(error).toContain("temporal in Ambient's own directory: not there")
  expect(error).toMatch(/download of temporal v1\.5\.1: \S/)
  expect(error).toContain('go install github.com/temporalio/cli/cmd/temporal@v1.5.1: go: no network')
  expect(error).toContain(
    `Put the temporal command line (docs.temporal.io/cli) on PATH or into ${directory}/own, or set TEMPORAL_ADDRESS`,
  )
  expect(readdirSync(join(directory, 'own'))).toEqual([])
})

test('a build that gives no server is not kept', async () => {
  program('first/go', `#!/bin/sh\nprintf '%s' '${somethingElse}' > "$GOBIN/temporal"\nchmod +x "$GOBIN/temporal"\n`)
  await expect(find()).rejects.toThrow('what arrived cannot start a development server')
  expect(readdirSync(join(directory, 'own'))).toEqual([])
})
