import pc from 'picocolors'
import { expect, test } from 'vitest'
import { questionText } from './question.ts'
import { plainStyle } from './style.ts'

const script = `set -e\nfor f in one two; do\n\techo "$f"\ndone\n${'# and on '.repeat(60)}\nrm -rf "$HOME/precious"`
const execute = (command: string) => ({ kind: 'execute', title: command, rawInput: { command } })

test('a command of many lines is shown whole and indented', () => {
  const lines = questionText({ title: script, tool_call: execute(script) }, plainStyle)
  expect(lines).toEqual(['? Run this?', ...script.split('\n').map((line) => `    ${line}`)])
})

test('on a terminal a long line goes on below itself, and nothing of it is missing', () => {
  const style = { colours: pc.createColors(false), width: 40 }
  const [head, ...lines] = questionText({ title: script, tool_call: execute(script) }, style)
  expect(head).toBe('? Run this?')
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(40)
  const shown = lines.map((line) => line.slice(4)).join('')
  expect(shown).toBe(script.replaceAll('\n', ''))
})

test('a short command is the question itself', () => {
  expect(questionText({ title: 'git push', tool_call: execute('git push') }, plainStyle)).toEqual(['? git push'])
})

test('a title that does not say the command is followed by it', () => {
  const call = { kind: 'execute', title: 'bash', rawInput: { command: 'rm -rf build' } }
  expect(questionText({ title: 'bash', tool_call: call }, plainStyle)).toEqual(['? bash', '    rm -rf build'])
})

test('what would hide a part of a command on a terminal is shown as an escape', () => {
  const hidden = 'rm -rf / #\rls \u001b[8mx\u202e'
  const [line] = questionText({ title: hidden, tool_call: null }, plainStyle)
  expect(line).toBe('? rm -rf / #\\u{d}ls \\u{1b}[8mx\\u{202e}')
})

test('a change to a file is shown line by line, all of it', () => {
  const content = [{ type: 'diff', path: 'a.txt', oldText: 'one\ntwo\n', newText: `one\n${'more\n'.repeat(30)}` }]
  const lines = questionText({ title: 'Write a.txt', tool_call: { kind: 'edit', content } }, plainStyle)
  expect(lines.slice(0, 3)).toEqual(['? Write a.txt', '    a.txt', '    - two'])
  expect(lines.slice(3)).toEqual(Array(30).fill('    + more'))
})

test('any other tool is shown with what it is called with', () => {
  const call = { kind: 'other', title: 'send_mail', rawInput: { to: 'all' } }
  expect(questionText({ title: 'send_mail', tool_call: call }, plainStyle)).toEqual([
    '? send_mail',
    '    {',
    '      "to": "all"',
    '    }',
  ])
})
