import { describe, expect, test } from 'vitest'
import { changedLines } from './line-diff.ts'
import { clean, columns, duration, oneLine, parseIsoDuration } from './text.ts'

describe('text for a terminal', () => {
  test('keeps the last version of a line that was rewritten, and Windows line ends', () => {
    expect(clean('10%\r50%\r100%\ndone\r\n')).toBe('100%\ndone\n')
  })

  test('is measured in columns', () => {
    expect([columns('abc'), columns('漢字'), columns('e\u0301'), columns('✅')]).toEqual([3, 4, 1, 2])
  })

  test('is cut to one line where something is left out, and only there', () => {
    expect(oneLine('short', 5)).toBe('short')
    expect(oneLine('longer', 5)).toBe('long…')
    expect(oneLine('first\nsecond', 20)).toBe('first…')
    expect(oneLine('漢字漢字', 5)).toBe('漢字…')
  })

  test.each([
    [820, '820 ms'],
    [9_940, '9.9 s'],
    [59_600, '1 min'],
    [185_000, '3 min 5 s'],
    [7_440_000, '2 h 4 min'],
    [93_600_000, '1 d 2 h'],
  ])('a time of %i ms is %s', (ms, text) => {
    expect(duration(ms)).toBe(text)
  })

  test.each([
    ['PT2M30S', 150_000],
    ['P1DT1H', 90_000_000],
    ['PT0.5S', 500],
    ['soon', null],
  ])('the ISO duration %s is %s', (iso, ms) => {
    expect(parseIsoDuration(iso)).toBe(ms)
  })
})

describe('changed lines', () => {
  const changes = (before: string, after: string) => changedLines(before, after).map(({ sign, text }) => sign + text)

  test('are those that differ, in the order of a diff', () => {
    expect(changes('a\nb\nc\nd\n', 'a\nx\nc\ny\nd\n')).toEqual(['-b', '+x', '+y'])
    expect(changes('', 'a\nb\n')).toEqual(['+a', '+b'])
    expect(changes('a\n', '')).toEqual(['-a'])
    expect(changes('a\n', 'a')).toEqual([])
  })

  test('of two large files without anything in common come at once', () => {
    const many = (letter: string) => Array.from({ length: 2_000 }, (_, index) => `${letter}${index}`).join('\n')
    expect(changes(many('a'), many('b'))).toHaveLength(4_000)
  })
})
