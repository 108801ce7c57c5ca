import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ambient } from './testing/command.ts'
import { startTestServer, type TestRun, type TestServer } from './testing/server.ts'
import { commit, git, workOn } from './testing/work.ts'

let server: TestServer
let directory: string
let home: string

beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.stop())

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ambient-home-'))
  home = join(directory, 'home')
  mkdirSync(home)
  git(home, 'init', '--quiet', '--initial-branch=main')
  writeFileSync(join(home, 'greet'), 'hello\n')
  commit(home, 'The beginning')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

/** A run that has made one commit in a clone of `home`, as the server would serve it. */
function finishedRun(text = 'goodbye\n'): TestRun {
  const work = workOn(pathToFileURL(home).href, directory, 'greet', text)
  const run = server.run({ state: 'SUCCEEDED' })
  run.result = [work.result]
  run.patch = work.patch
  run.bundles.set('home', work.bundle)
  return run
}

describe('the work of a run', () => {
  test('comes home as a branch at the end of ambient run, and what is checked out stays as it is', async () => {
    writeFileSync(join(home, 'draft'), 'not committed')
    const run = finishedRun()
    run.state('SUCCEEDED')
    server.onStart = () => run
    const args = ['run', 'Say goodbye', '--repo', '.', '--branch', 'goodbye']
    const { code, stdout, stderr } = await ambient(args, { url: server.url, cwd: home })
    expect(code).toBe(0)
    expect(stderr).toContain('1 path in')
    expect(stderr).toContain('changes that are not committed (draft)')
    expect(stdout).toContain(`branch goodbye in ${home}`)
    expect(stdout).not.toContain('ambient apply')
    expect(git(home, 'show', 'goodbye:greet')).toBe('hello\ngoodbye')
    expect(git(home, 'status', '--porcelain', '--branch')).toBe('## main\n?? draft')
    const { body } = server.requests.find(({ method }) => method === 'POST') ?? {}
    expect(body).toMatchObject({ environment: { repos: [{ url: pathToFileURL(home).href, ref: 'main' }] } })
  })

  test('comes later too, under a name made from the id, into a clone that has the commit', async () => {
    const run = finishedRun()
    const clone = join(directory, 'clone')
    git(directory, 'clone', '--quiet', home, clone)
    if (run.result[0]) run.result[0].url = 'https://example.com/home.git'
    const { code } = await ambient(['apply', run.item.run_id], { url: server.url, cwd: clone })
    expect(code).toBe(0)
    expect(git(clone, 'log', '--format=%s', `ambient/${run.item.run_id.slice(0, 8)}`)).toBe(
      'The work of the agent\nThe beginning',
    )
  })

  test('says why where its commits are not kept, and names nothing that would bring them', async () => {
    const run = finishedRun()
    const note = 'The changes have the value of a secret in them.'
    if (run.result[0]) Object.assign(run.result[0], { bundle_bytes: null, note })
    run.add('result', { repos: [{ path: 'home', files_changed: 1, commits: 1, bundle: false, note }] })
    run.state('SUCCEEDED')
    const shown = await ambient(['runs', 'show', run.item.run_id], { url: server.url })
    expect(shown.stdout).toContain(`home: ${note}\n`)
    expect(shown.stdout).toContain('ambient diff')
    expect(shown.stdout).not.toContain('ambient apply')
    const { code, stdout } = await ambient(['apply', run.item.run_id], { url: server.url, cwd: home })
    expect({ code, stdout }).toEqual({ code: 2, stdout: `home: ${note}\n` })
    expect(git(home, 'branch', '--list', 'ambient/*')).toBe('')
  })

  test('never replaces a branch with other commits, unless it is forced', async () => {
    const first = finishedRun()
    const second = finishedRun('farewell\n')
    const apply = (run: TestRun, ...more: string[]) =>
      ambient(['apply', run.item.run_id, '--branch', 'work', ...more], { url: server.url, cwd: home })
    expect((await apply(first)).code).toBe(0)
    const refused = await apply(second)
    expect(refused.code).toBe(2)
    expect(refused.stderr).toContain('has other commits')
    expect(git(home, 'show', 'work:greet')).toBe('hello\ngoodbye')
    expect((await apply(second, '--force')).code).toBe(0)
    expect(git(home, 'show', 'work:greet')).toBe('hello\nfarewell')
  })

  test('never touches what is checked out, forced or not, and says so before a run is started', async () => {
    const run = finishedRun()
    const other = join(directory, 'other')
    git(home, 'worktree', 'add', '--quiet', '-b', 'elsewhere', other)
    for (const [branch, place] of [
      ['main', home],
      ['elsewhere', other],
    ] as const) {
      const apply = ['apply', run.item.run_id, '--branch', branch, '--force']
      const from = server.requests.length
      const start = ['run', 'x', '--repo', '.', '--branch', branch, '--force']
      for (const args of [apply, start]) {
        const { code, stderr } = await ambient(args, { url: server.url, cwd: home })
        expect(code).toBe(2)
        expect(stderr).toContain(`The branch ${branch} is checked out in ${place}`)
        expect(stderr).not.toContain('--force')
      }
      expect(server.requests.slice(from).filter(({ method }) => method === 'POST')).toEqual([])
    }
  })

  test.each([
    [['run', 'x', '--branch', 'a..b'], 'Git allows no spaces'],
    [['apply', 'abcd', '--branch', 'a b'], 'Git allows no spaces'],
    [['run', '--branch', 'Fix the test'], 'Put the prompt before --branch'],
  ])('a name that no branch can have is refused with what is wrong: %j', async (args, hint) => {
    const { code, stderr } = await ambient(args, { url: server.url, cwd: home })
    expect(code).toBe(2)
    expect(stderr).toContain('cannot be the name of a branch')
    expect(stderr).toContain(hint)
  })

  test('is refused by a repository that lacks the commit it begins from', async () => {
    const run = finishedRun()
    if (run.result[0]) run.result[0].url = 'https://example.com/home.git'
    const other = join(directory, 'other')
    mkdirSync(other)
    git(other, 'init', '--quiet')
    const { code, stderr } = await ambient(['apply', run.item.run_id], { url: server.url, cwd: other })
    expect(code).toBe(2)
    expect(stderr).toContain('lacks the commit')
  })

  test('runs no hook of the repository', async () => {
    const run = finishedRun()
    const hook = join(home, '.git', 'hooks', 'reference-transaction')
    writeFileSync(hook, `#!/bin/sh\ntouch ${join(directory, 'hook-ran')}\n`, { mode: 0o755 })
    const { code } = await ambient(['apply', run.item.run_id, '--branch', 'hooked'], { url: server.url, cwd: home })
    expect(code).toBe(0)
    expect(() => readFileSync(join(directory, 'hook-ran'))).toThrow('ENOENT')
  })

  test('comes as a patch that git can apply, byte by byte', async () => {
    const run = finishedRun('\u00e9 \ufffd \t \r\n')
    const printed = await ambient(['diff', run.item.run_id], { url: server.url })
    expect(Buffer.from(printed.stdout)).toEqual(run.patch)
    const file = join(directory, 'work.patch')
    const written = await ambient(['apply', run.item.run_id, '--patch', file], { url: server.url })
    expect(written.stdout).toBe(`✓ Patch of 1 file in ${file}\n`)
    git(home, 'apply', file)
    expect(git(home, 'diff', '--stat')).toContain('1 insertion(+)')
  })

  test('is shown as files and numbers', async () => {
    const run = finishedRun()
    const { stdout } = await ambient(['diff', run.item.run_id, '--stat'], { url: server.url })
    expect(stdout.replace(/[0-9a-f]{10}/, '<commit>')).toBe(
      'home: 1 file changed +1 −0, 1 commit\n  greet  +1 −0\n  <commit>  The work of the agent\n',
    )
  })

  test('that changed nothing is said so', async () => {
    const run = finishedRun()
    // A note comes from the sandbox, which may have put anything there.
    const note = 'nothing was\u001b]0;a title\u0007 changed'
    if (run.result[0]) Object.assign(run.result[0], { commits: [], files_changed: 0, note })
    const { code, stdout } = await ambient(['apply', run.item.run_id], { url: server.url, cwd: home })
    expect(code).toBe(2)
    expect(stdout).toBe('home: nothing was changed.\n')
  })
})
