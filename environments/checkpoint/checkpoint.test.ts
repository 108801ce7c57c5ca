import { execFileSync } from 'node:child_process'
import { lstatSync } from 'node:fs'
import { readFile, readlink, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { startSnapshot } from '../work-product/work-product.ts'
import { git, kinds, MIB, useCheckpoints } from './checkpoint.fixture.ts'

describe.each(kinds)('%s', (kind) => {
  const t = useCheckpoints(kind)

  test('commits, staged, unstaged, untracked, deleted and binary files come back as they were', async () => {
    await t.begin()
    await t.work(
      t.here,
      `git checkout -q -b fix
       echo committed >new; git add new; git commit -q -m 'a commit of the run'
       echo on the stash >>kept; git stash -q
       echo in the index >>staged; git add staged
       echo in the index >>both; git add both; echo and on top >>both
       echo only here >>kept
       rm gone
       chmod +x tool
       printf '\\000\\001\\377' >binary
       mkdir -p deep/er; echo untracked >'deep/er/a file with a näme'
       ln -s ../elsewhere link
       git branch side HEAD~1
       echo ignored >ignored`,
    )
    const before = t.stateOf(join(t.here.workspace, 'project'))
    const { there, repository } = await t.goOn((await t.taken()).file)
    expect(t.stateOf(repository)).toEqual(before)
    expect(before.status).toContain('# branch.head fix')
    expect(before.status.split('\n').filter((line) => !line.startsWith('#'))).toHaveLength(8)
    expect(await readFile(join(repository, 'binary'))).toEqual(Buffer.from([0, 1, 255]))
    expect(await readlink(join(repository, 'link'))).toBe('../elsewhere')
    expect((await stat(join(repository, 'tool'))).mode & 0o111).not.toBe(0)
    expect((await stat(join(repository, 'binary'))).uid).toBe(there.host.owner.uid)
    expect(await readFile(join(repository, 'ignored'), 'utf8')).toBe('ignored\n')
    // Whoever goes on can commit.
    await t.work(there, 'git add -A; git commit -q -m next; git fsck --strict --no-dangling')
  })

  test('what the set-up made and the agent changed is as the agent left it, and what it deleted stays away', async () => {
    const setup = 'echo made >made; echo made >unwanted; echo made >ignored; echo setup >>kept; git commit -q -am setup'
    await t.begin(setup)
    await t.work(t.here, 'echo agent >>made; rm unwanted; git mv staged moved; git commit -q -m moved')
    const before = t.stateOf(join(t.here.workspace, 'project'))
    const { repository } = await t.goOn((await t.taken()).file, { setup })
    expect(t.stateOf(repository)).toEqual(before)
    expect(await readFile(join(repository, 'made'), 'utf8')).toBe('made\nagent\n')
    expect(await readFile(join(repository, 'ignored'), 'utf8')).toBe('made\n')
  })

  test('the diff of the run is the same as if it had stayed', async () => {
    await t.begin('echo by the set-up >>kept')
    await t.work(t.here, 'echo by the agent >>both')
    const start = await readFile(join(t.here.paths.root, 'start.json'), 'utf8')
    const { there, repository } = await t.goOn((await t.taken()).file)
    expect(await readFile(join(there.paths.root, 'start.json'), 'utf8')).toBe(start)
    const [{ tree }] = JSON.parse(start)
    expect(git(repository, 'diff', '--stat', tree)).toContain('1 file changed, 1 insertion(+)')
  })

  test('a detached HEAD, a branch without a commit, and a merge in progress come back as they were', async () => {
    await t.begin()
    await t.work(t.here, 'git checkout -q --detach; git commit -q --allow-empty -m detached')
    expect(t.stateOf((await t.goOn((await t.taken()).file)).repository)).toEqual(
      t.stateOf(join(t.here.workspace, 'project')),
    )
    await t.hosts[1].remove(t.runId)

    await t.work(t.here, 'git checkout -q --orphan empty; git rm -rq --cached .')
    expect(t.stateOf((await t.goOn((await t.taken()).file)).repository)).toEqual(
      t.stateOf(join(t.here.workspace, 'project')),
    )
    await t.hosts[1].remove(t.runId)

    await t.work(
      t.here,
      `git checkout -qf main; git checkout -q -b a; echo a >kept; git commit -qam a
       git checkout -q -b b main; echo b >kept; git commit -qam b; ! git merge -q a`,
    )
    const before = t.stateOf(join(t.here.workspace, 'project'))
    expect(before.status).toContain('u UU')
    const { there, repository } = await t.goOn((await t.taken()).file)
    expect(t.stateOf(repository)).toEqual(before)
    expect(await readFile(join(repository, 'kept'), 'utf8')).toContain('<<<<<<<')
    await t.work(there, 'echo both >kept; git commit -qam merged; [ "$(git rev-parse HEAD^2)" = "$(git rev-parse a)" ]')
  })

  test('a submodule that was never fetched, a repository in the repository and one without a commit come along', async () => {
    git(t.source, 'checkout', '-q', '-b', 'with-submodule')
    git(t.source, 'update-index', '--add', '--cacheinfo', `160000,${'1'.repeat(40)},module`)
    git(t.source, 'commit', '-q', '-m', 'a submodule')
    try {
      await t.begin()
      await t.work(
        t.here,
        `git init -q inner; cd inner; echo inner >file; git add file; git commit -q -m inner; echo changed >>file; cd ..
         git init -q bare-ly; echo x >bare-ly/file`,
      )
      const { repository } = await t.goOn((await t.taken()).file)
      expect(git(join(repository, 'inner'), 'status', '--porcelain')).toBe('M file')
      expect(git(join(repository, 'inner'), 'log', '--format=%s')).toBe('inner')
      expect(await readFile(join(repository, 'bare-ly/file'), 'utf8')).toBe('x\n')
      expect(git(repository, 'ls-files', '--stage', 'module')).toContain('1'.repeat(40))
    } finally {
      git(t.source, 'checkout', '-q', 'main')
    }
  })

  test('a repository that was empty keeps what was begun in it', async () => {
    const full = t.source
    t.source = join(t.directory, 'empty/project')
    git(t.directory, 'init', '-q', t.source)
    try {
      const repositories = await t.clone(t.here)
      t.cloned = null
      await startSnapshot({ ...t.look(t.here), repositories })
      await t.work(t.here, 'echo one >one; git add one; git commit -q -m one; echo two >two')
      const before = t.stateOf(join(t.here.workspace, 'project'))
      expect(t.stateOf((await t.goOn((await t.taken()).file)).repository)).toEqual(before)
    } finally {
      t.source = full
    }
  })

  test('files beside the repositories come along, and a repository that was thrown away stays away', async () => {
    await t.begin()
    await t.work(t.here, 'mkdir -p notes/deep; echo note >notes/deep/file; ln -s /etc/passwd away; chmod 500 notes', '')
    const beside = await t.goOn((await t.taken()).file, { setup: 'echo leftover >../leftover' })
    expect(await t.read(beside.there, 'notes/deep/file')).toBe('note\n')
    expect(await readlink(join(beside.there.workspace, 'away'))).toBe('/etc/passwd')
    expect((await stat(join(beside.there.workspace, 'notes'))).mode & 0o777).toBe(0o500)
    expect(() => lstatSync(join(beside.there.workspace, 'leftover'))).toThrow()
    expect(git(beside.repository, 'status', '--porcelain')).toBe('')
    await t.hosts[1].remove(t.runId)

    await t.work(t.here, 'rm -rf project; mkdir project; echo anew >project/file', '')
    const { there } = await t.goOn((await t.taken()).file)
    expect(await t.read(there, 'project/file')).toBe('anew\n')
    expect(() => lstatSync(join(there.workspace, 'project/.git'))).toThrow()
  })

  test('a workspace without a repository is kept as files', async () => {
    await t.work(t.here, 'mkdir a; echo b >a/b; echo old >changed; rm -f made', '')
    const { there } = await t.goOn((await t.taken({ repositories: [] })).file, {
      repositories: false,
      setup: 'echo new >changed; echo made >made',
    })
    expect(await t.read(there, 'a/b')).toBe('b\n')
    expect(await t.read(there, 'changed')).toBe('old\n')
    expect(() => lstatSync(join(there.workspace, 'made'))).toThrow()
  })

  test("the agent's own state comes along, and nothing else of its home", async () => {
    await t.work(
      t.here,
      `mkdir -p "$HOME/.agent/sessions/2026"; echo said >"$HOME/.agent/sessions/2026/one"; echo db >"$HOME/.agent/state.db"
       echo credential >"$HOME/.agent/auth.json"; ln -s auth.json "$HOME/.agent/sessions/stolen"`,
      '',
    )
    const checkpoint = await t.taken({ repositories: [] })
    const { there, manifest } = await t.goOn(checkpoint.file, {
      repositories: false,
      statePaths: ['.agent/moved', '.agent/state.db'],
    })
    expect(await readFile(join(there.paths.home, '.agent/moved/2026/one'), 'utf8')).toBe('said\n')
    expect(await readFile(join(there.paths.home, '.agent/state.db'), 'utf8')).toBe('db\n')
    expect(() => lstatSync(join(there.paths.home, '.agent/auth.json'))).toThrow()
    expect(manifest.record).toEqual({ noted: 'by the caller' })
    const content = execFileSync('sh', ['-c', 'gunzip -c "$1"', 'sh', checkpoint.file], { encoding: 'latin1' })
    expect(content).not.toContain('credential')
  })

  test('nothing is taken when nothing has changed', async () => {
    await t.begin()
    await t.work(
      t.here,
      'echo x >>kept; echo y >../beside; mkdir -p "$HOME/.agent/sessions"; echo z >"$HOME/.agent/sessions/s"',
    )
    const { mark } = await t.taken()
    expect(await t.take({ known: mark })).toEqual({ kind: 'unchanged' })
    const changes = [
      'echo x >>kept',
      'git add kept',
      'git commit -q -m x',
      'git checkout -q -b another',
      'echo y >>../beside',
      'echo z >>"$HOME/.agent/sessions/s"',
      'rm ../beside',
      'echo x >ignored',
      'echo y >>ignored',
      'mkdir empty',
    ]
    let known = mark
    for (const change of changes) {
      await t.work(t.here, change)
      const next = await t.take({ known })
      expect(next.kind, change).toBe('taken')
      if (next.kind === 'taken') known = next.mark
    }
    await t.work(t.here, 'echo x >"$HOME/other"')
    expect(await t.take({ known })).toEqual({ kind: 'unchanged' })
  })

  test('what is too large is not kept, and files beside the repositories are done without first', async () => {
    await t.begin()
    await t.work(t.here, 'echo work >>kept; head -c 3000000 /dev/urandom >../large')
    const { file, withoutBeside } = await t.taken({ maxBytes: 2 * MIB })
    expect(withoutBeside).toBe(true)
    const { there, repository } = await t.goOn(file, { setup: 'echo by the set-up >../made' })
    expect(await readFile(join(repository, 'kept'), 'utf8')).toContain('work\n')
    expect(await t.read(there, 'made')).toBe('by the set-up\n')
    expect(() => lstatSync(join(there.workspace, 'large'))).toThrow()
    await t.work(t.here, 'head -c 3000000 /dev/urandom >large')
    expect(await t.take({ maxBytes: 2 * MIB })).toEqual({ kind: 'too_large' })
    expect(await t.take({ maxBytes: 2 * MIB, repositories: [] })).toEqual({ kind: 'too_large' })
  })

  test('settings and links that an agent left for git and for the host lead nowhere', async () => {
    await t.begin()
    const secret = join(t.directory, `secret-${t.runId}`)
    await writeFile(secret, 'of the host', { mode: 0o600 })
    await t.work(
      t.here,
      `git config filter.evil.clean 'touch "$HOME/ran"; cat'
       git config core.fsmonitor 'touch "$HOME/ran"'
       git config diff.external 'touch "$HOME/ran"'
       mkdir "$HOME/.agent"; ln -s / "$HOME/.agent/sessions"; mkfifo ../pipe; ln -s ${secret} ../stolen; echo x >>kept`,
    )
    const { file } = await t.taken()
    const content = execFileSync('sh', ['-c', 'gunzip -c "$1"', 'sh', file], { encoding: 'latin1' })
    expect(content).not.toContain('of the host')
    const { there } = await t.goOn(file)
    expect(await readlink(join(there.workspace, 'stolen'))).toBe(secret)
    expect(await readFile(secret, 'utf8')).toBe('of the host')
  })
})
