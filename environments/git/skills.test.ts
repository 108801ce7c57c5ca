import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { testGitAccess } from '../../test/support/git-access.ts'
import { type SampleRepository, sampleRepository } from '../../test/support/repository.ts'
import type { GitAccess } from './access.ts'
import { readSkills } from './skills.ts'

const never = new AbortController().signal
const TEXT = '---\nname: deploy\ndescription: Deploys.\n---\nDo it.\n'

let directory: string
let repository: SampleRepository
let access: GitAccess
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-skills-'))
  repository = await sampleRepository()
  access = await testGitAccess(directory)
})
afterEach(async () => {
  await repository.remove()
  await rm(directory, { recursive: true, force: true })
})

async function put(path: string, content: string | Buffer): Promise<void> {
  await mkdir(dirname(join(repository.path, path)), { recursive: true })
  await writeFile(join(repository.path, path), content)
}

async function commit(): Promise<string> {
  await repository.git('add', '.')
  await repository.git('commit', '--quiet', '--message', 'Skills')
  return await repository.git('rev-parse', 'HEAD')
}

const read = (options: { ref?: string; mirrors?: null; bytes?: number } = {}) => {
  const { ref, mirrors, bytes = 1e6 } = options
  const context = { access: mirrors === null ? { ...access, mirrors } : access, team: 'default', signal: never }
  return readSkills({ url: repository.url, ...(ref && { ref }) }, context, {
    scratch: join(directory, 'scratch'),
    budget: { bytes },
  })
}

test.each([undefined, null])(
  'skills are found in the folders of all agents, with their files (mirrors: %s)',
  async (mirrors) => {
    const places = ['.agents/skills/a', '.claude/skills/b', '.codex/skills/group/c', '.warp/skills/d', 'skills/e']
    for (const place of [...places, 'packages/web/.claude/skills/f']) await put(`${place}/SKILL.md`, TEXT)
    for (const other of ['docs/skills/g/SKILL.md', '.claude/skills/SKILL.md', '.claude/h/SKILL.md', 'skills/README.md'])
      await put(other, TEXT)
    const bytes = Buffer.from([0, 255, 10, 13, 200])
    await put('.claude/skills/b/assets/logo.bin', bytes)
    await put('.claude/skills/b/run.sh', '#!/bin/sh\n')
    await chmod(join(repository.path, '.claude/skills/b/run.sh'), 0o755)
    await symlink('/etc/passwd', join(repository.path, '.claude/skills/b/link'))
    await put('.claude/skills/b/inner/SKILL.md', TEXT)
    const revision = await commit()

    const found = await read(mirrors === null ? { mirrors } : {})
    expect(found.revision).toBe(revision)
    expect(found.skills.map(({ path }) => path)).toEqual(
      [...places, '.claude/skills/b/inner', 'packages/web/.claude/skills/f'].map((place) => `${place}/SKILL.md`).sort(),
    )
    expect(found.skills.find(({ path }) => path === '.claude/skills/b/SKILL.md')).toEqual({
      path: '.claude/skills/b/SKILL.md',
      text: TEXT,
      files: [
        { path: 'assets/logo.bin', executable: false, content: bytes.toString('base64') },
        { path: 'run.sh', executable: true, content: Buffer.from('#!/bin/sh\n').toString('base64') },
      ],
      problem: null,
    })
  },
)

test('they are those of the branch, tag or commit that is asked for', async () => {
  await put('.agents/skills/a/SKILL.md', TEXT)
  const revision = await commit()
  await put('.agents/skills/a/SKILL.md', TEXT.replace('Do it.', 'Do it otherwise.'))
  await commit()
  expect((await read({ ref: 'other' })).skills).toEqual([])
  for (const ref of [revision, revision.slice(0, 10)]) {
    const found = await read({ ref })
    expect(found).toMatchObject({ revision, skills: [{ text: TEXT }] })
  }
  await expect(read({ ref: 'nowhere' })).rejects.toMatchObject({ failure: { code: 'ref_not_found' } })
})

test('what is too large is told of, and not kept', async () => {
  await put('.agents/skills/large/SKILL.md', `${TEXT}${'x'.repeat(300 * 1024)}`)
  await put('.agents/skills/heavy/SKILL.md', TEXT)
  await put('.agents/skills/heavy/data', Buffer.alloc(3 * 1024 * 1024, 'x'))
  await put('.agents/skills/last/SKILL.md', TEXT)
  await commit()
  expect(
    (await read({ bytes: 20 })).skills.map(({ path, text, problem }) => [path.split('/')[2], text, problem]),
  ).toEqual([
    ['heavy', '', 'its files are larger than 2 MiB together'],
    ['large', '', 'its SKILL.md is larger than 256 KiB'],
    ['last', '', 'the skills of its environment are too large together'],
  ])
})
