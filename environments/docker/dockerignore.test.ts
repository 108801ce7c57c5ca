import { expect, test } from 'vitest'
import { parseDockerignore } from './dockerignore.ts'

const leftOut = (lines: string[], paths: string[]) => {
  const ignored = parseDockerignore(lines.join('\n'))
  return paths.filter((path) => ignored.leavesOut(path))
}

test('a name is left out at the top, with everything below it; a pattern in all depths where it begins with **', () => {
  const paths = ['.git', '.git/config', 'a/.git', 'node_modules/x/y', 'a/node_modules/z', 'src/a.log', 'b.log']
  expect(leftOut(['# comment', '', '/.git/', '**/node_modules', '*.log'], paths)).toEqual([
    '.git',
    '.git/config',
    'node_modules/x/y',
    'a/node_modules/z',
    'b.log',
  ])
})

test('the last line that fits decides, so that exceptions are possible', () => {
  const paths = ['README.md', 'docs/a.md', 'docs/keep.md', 'docs/img/x.png']
  const lines = ['**', '!docs', 'docs/*.md', '!docs/keep.md']
  expect(leftOut(lines, paths)).toEqual(['README.md', 'docs/a.md'])
  expect(parseDockerignore(lines.join('\n')).hasExceptions).toBe(true)
})

test('wildcards and sets stay within one name, and other signs stand for themselves', () => {
  const paths = ['a1', 'ab', 'a/b', 'x.y', 'xzy', 'c[d', '(e)']
  expect(leftOut(['a?'], paths)).toEqual(['a1', 'ab'])
  expect(leftOut(['a[0-9]', 'x.y', '\\c\\[d', '(e)', '[z-a]'], paths)).toEqual(['a1', 'x.y', 'c[d', '(e)'])
})
