import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { optionOf } from './ask.ts'
import { patchedFiles } from './patch.ts'
import { commit, git } from './testing/work.ts'

test('the files of a patch are counted as git counts them', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ambient-patch-'))
  try {
    git(directory, 'init', '--quiet')
    writeFileSync(join(directory, 'changed'), 'one\ntwo\nthree\nfour\n')
    writeFileSync(join(directory, 'deleted'), 'a\nb\nc\nd\n')
    writeFileSync(join(directory, 'renamed from'), 'another text\nof two lines\n')
    const base = commit(directory, 'Before')
    writeFileSync(join(directory, 'changed'), 'one\n++ two\n-- three\nfour\n')
    writeFileSync(join(directory, 'bin b x'), Buffer.from([0, 1, 2, 0xff]))
    rmSync(join(directory, 'deleted'))
    git(directory, 'mv', 'renamed from', 'renamed to')
    const head = commit(directory, 'After')
    const patch = execFileSync('git', ['diff', '--binary', '-M', base, head], { cwd: directory, encoding: 'utf8' })
    const file = (path: string, insertions: number, deletions: number, binary = false) => ({
      path,
      insertions,
      deletions,
      binary,
    })
    expect(patchedFiles(patch)).toEqual([
      file('bin b x', 0, 0, true),
      file('changed', 2, 2),
      file('deleted', 0, 4),
      file('renamed to', 0, 0),
    ])
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})

test('an answer is meant by its number, its id, its name, or a word for yes or no', () => {
  const question = {
    question_id: 'q',
    tool_call: null,
    title: 'May I?',
    options: [
      { option_id: 'once', name: 'Allow once', kind: 'allow_once' },
      { option_id: 'reject-it', name: 'Reject', kind: 'reject_once' },
    ],
  }
  const typed = ['2', 'ONCE', ' allow once ', 'y', 'no', 'reject', '3', '0', '', 'perhaps']
  expect(typed.map((text) => optionOf(question, text))).toEqual([
    ...['reject-it', 'once', 'once', 'allow', 'deny', 'reject-it'],
    ...[null, null, null, null],
  ])
})
