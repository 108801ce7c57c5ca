// What git and its users have in a repository beside files and branches, over a checkpoint.
import { existsSync, lstatSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { git, kinds, MIB, useCheckpoints } from './checkpoint.fixture.ts'

describe.each(kinds)('%s', (kind) => {
  const t = useCheckpoints(kind)

  test('a submodule that the agent added, and a worktree that it linked, are there with all they had', async () => {
    const inner = join(t.here.workspace, 'library')
    await t.begin()
    await t.work(
      t.here,
      `git init -q ../library; (cd ../library; git commit -q --allow-empty -m library)
       git -c protocol.file.allow=always submodule --quiet add ../library added 2>/dev/null ||
         git -c protocol.file.allow=always submodule --quiet add "$(cd ../library; pwd)" added
       (cd added; echo x >x; git add x; git commit -qm 'in the submodule'; echo y >>x)
       git worktree add -q --detach ../linked; cd ../linked
       echo committed >c; git add c; git commit -qm 'only in the worktree'; echo staged >s; git add s; echo more >>kept`,
    )
    expect(existsSync(inner)).toBe(true)
    const states = (workspace: string) =>
      ['project/added', 'linked'].map((path) => {
        const { upstream: _, ...state } = { upstream: '', ...t.stateOf(join(workspace, path)) }
        return { ...state, head: git(join(workspace, path), 'log', '--format=%H') }
      })
    const seen = async (place: typeof t.here) => {
      if (kind === 'direct') return JSON.stringify(states(place.workspace))
      // Its paths are those of the sandbox.
      return await t.work(
        place,
        'for at in added ../linked; do (cd $at; git status --porcelain=v2; git log --format=%H); done',
      )
    }
    const before = await seen(t.here)
    const { there } = await t.goOn((await t.taken()).file)
    expect(await seen(there)).toBe(before)
    await t.work(there, 'git worktree list | grep -q linked; git submodule status | grep -q added')
  })
})

describe('direct', () => {
  const t = useCheckpoints('direct')
  const project = () => join(t.here.workspace, 'project')

  test('tags and notes that the agent made, moved or removed are as it left them', async () => {
    git(t.source, 'tag', 'moved')
    git(t.source, 'tag', 'removed')
    git(t.source, 'tag', 'untouched')
    try {
      await t.begin()
      await t.work(
        t.here,
        `echo x >>kept; git commit -qam x; git tag -f moved; git tag -d removed; git notes add -m noted
         git tag -a annotated -m 'on a commit of no branch' $(git commit-tree -m loose HEAD^{tree})`,
      )
      const refs = (repository: string) => git(repository, 'for-each-ref', 'refs/tags', 'refs/notes')
      const { repository, manifest } = await t.goOn((await t.taken()).file)
      expect(refs(repository)).toBe(refs(project()))
      expect(git(repository, 'cat-file', '-p', 'annotated^{commit}')).toContain('loose')
      // Those that come with the clone are not in it.
      expect(manifest.repositories[0]?.refs.map(({ name }) => name).toSorted()).toEqual(
        ['refs/notes/commits', 'refs/tags/annotated', 'refs/tags/moved', 'refs/tags/removed'].toSorted(),
      )
    } finally {
      git(t.source, 'tag', '-d', 'moved', 'removed', 'untouched')
    }
  })

  test('a rebase, a cherry-pick and a bisection in progress can be finished', async () => {
    await t.begin()
    const conflict =
      'git checkout -qB a main; echo a >kept; git commit -qam a; git checkout -qB b main; echo b >kept; git commit -qam b'
    const cases = [
      {
        script: `${conflict}; ! git rebase -q a`,
        status: 'rebase in progress',
        finish:
          'echo both >kept; git add kept; GIT_EDITOR=true git rebase --continue; [ "$(git rev-parse HEAD^)" = "$(git rev-parse a)" ]; [ "$(git branch --show-current)" = b ]',
      },
      {
        script: `${conflict}; ! git cherry-pick a`,
        status: 'cherry-picking',
        finish:
          'echo both >kept; git add kept; git -c core.editor=true cherry-pick --continue; [ "$(git log -1 --format=%s)" = a ]',
      },
      {
        script:
          'git checkout -qB c main; for i in 1 2 3 4; do git commit -q --allow-empty -m $i; done; git bisect start; git bisect bad; git bisect good main',
        status: 'bisecting',
        finish:
          'git bisect good >out; git bisect log | grep -q good; git bisect reset; [ "$(git branch --show-current)" = c ]',
      },
    ]
    for (const { script, status, finish } of cases) {
      await t.work(t.here, script)
      const before = t.stateOf(project())
      const { there, repository } = await t.goOn((await t.taken()).file)
      expect(t.stateOf(repository)).toEqual(before)
      expect(git(repository, 'status')).toContain(status)
      await t.work(there, finish)
      await t.hosts[1].remove(t.runId)
      await t.work(t.here, 'git rebase --abort || git cherry-pick --abort || git bisect reset')
    }
  })

  test('what was changed and committed inside a submodule comes along, and one that was removed stays away', async () => {
    const inner = join(t.directory, `inner-${t.runId}`)
    git(t.directory, 'init', '-q', inner)
    git(inner, 'commit', '-q', '--allow-empty', '-m', 'inner')
    git(t.source, 'checkout', '-q', '-b', 'modules')
    const add = (name: string) =>
      git(t.source, '-c', 'protocol.file.allow=always', 'submodule', 'add', `file://${inner}`, name)
    add('module')
    add('unwanted')
    git(t.source, 'commit', '-q', '-m', 'submodules')
    try {
      // A host clones none from its own disk.
      const setup = 'git -c protocol.file.allow=always submodule update -q --init'
      await t.begin(setup)
      await t.work(
        t.here,
        `cd module; git checkout -qb fix; echo one >one; git add one; git commit -qm one; echo two >>one; echo three >three
         cd ..; git add module; git rm -q unwanted`,
      )
      const before = [t.stateOf(project()), t.stateOf(join(project(), 'module'))]
      const { repository } = await t.goOn((await t.taken()).file, { setup })
      expect([t.stateOf(repository), t.stateOf(join(repository, 'module'))]).toEqual(before)
      expect(git(join(repository, 'module'), 'log', '--format=%s')).toBe('one\ninner')
      expect(existsSync(join(repository, 'unwanted'))).toBe(false)
    } finally {
      git(t.source, 'checkout', '-q', '--force', 'main')
    }
  })

  test('what git ignores comes along where the agent made or changed it, the smallest first, and the rest is named', async () => {
    const setup = `printf 'ignored\\nmodules/\\ncache/\\n.env\\n' >.gitignore; git commit -qam 'ignore'
      mkdir -p modules/a cache; echo set-up >modules/a/file; echo set-up >modules/a/other; echo set-up >cache/gone`
    await t.begin(setup)
    await t.work(
      t.here,
      `echo secret >.env; echo agent >modules/a/file; mkdir modules/b; echo agent >modules/b/new; rm -r cache
       mkdir target; echo target/ >>.gitignore; head -c 3000000 /dev/urandom >target/large`,
    )
    const { file, manifest } = await t.taken({ maxBytes: 2 * MIB })
    expect(manifest.left_out).toEqual(['project/target, which git ignores: too large'])
    const { repository } = await t.goOn(file, { setup })
    const text = (path: string) => readFile(join(repository, path), 'utf8')
    expect(await text('.env')).toBe('secret\n')
    expect(await text('modules/a/file')).toBe('agent\n')
    expect(await text('modules/a/other')).toBe('set-up\n')
    expect(await text('modules/b/new')).toBe('agent\n')
    expect(existsSync(join(repository, 'cache'))).toBe(false)
    expect(existsSync(join(repository, 'target'))).toBe(false)
    // What the set-up made and the agent let be is not in it.
    expect(manifest.repositories[0]?.ignored.toSorted()).toEqual(['.env', 'modules/a/file', 'modules/b/new'])
    expect((await t.taken({ maxBytes: 10 * MIB })).manifest.left_out).toEqual([])
  })

  test('empty directories come along', async () => {
    await t.begin()
    await t.work(t.here, 'mkdir -p empty/inside deep; touch deep/file; mkdir deep/also; chmod 700 empty')
    const { repository } = await t.goOn((await t.taken()).file)
    for (const path of ['empty/inside', 'deep/also']) expect(lstatSync(join(repository, path)).isDirectory()).toBe(true)
    expect(lstatSync(join(repository, 'empty')).mode & 0o777).toBe(0o700)
    expect(git(repository, 'status', '--porcelain')).toBe('?? deep/')
  })

  test('what a checkpoint says was going on is written among the notes of git alone', async () => {
    await t.begin()
    // A forged list of what was going on: it would be a hook and a file outside.
    await t.work(
      t.here,
      `blob=$(echo 'touch "$HOME/ran"' | git hash-object -w --stdin)
       git checkout -qb a; echo a >kept; git commit -qam a; git checkout -qb b main; echo b >kept; git commit -qam b; ! git merge -q a
       mkdir -p .git/rebase-merge; echo "$blob" >.git/rebase-merge/onto; ln -s ../../../../outside .git/rebase-merge/link
       ln -s /etc/passwd .git/MERGE_RR`,
    )
    const { repository } = await t.goOn((await t.taken()).file)
    expect(existsSync(join(repository, '.git/rebase-merge/onto'))).toBe(true)
    expect(existsSync(join(repository, '.git/rebase-merge/link'))).toBe(false)
    expect(existsSync(join(repository, '.git/MERGE_RR'))).toBe(false)
  })
})
