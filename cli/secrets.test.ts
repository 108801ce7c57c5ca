import { expect, test } from 'vitest'
import { renderVault } from './commands/vault.ts'
import { readDotenv } from './dotenv.ts'

test('a .env file is read as the usual tools read it', () => {
  const text = `# a remark\nONE=first\nexport TWO="second 'value'"\nTHREE='a\nb'\nEMPTY=\n`
  expect(readDotenv(text)).toEqual([
    ['EMPTY', ''],
    ['ONE', 'first'],
    ['THREE', 'a\nb'],
    ['TWO', "second 'value'"],
  ])
  expect(() => readDotenv('# nothing\n')).toThrow('There is no NAME=value in it.')
})

test('the vault says which key may go, and which is missing', () => {
  const shown = renderVault({
    source: 'the file /x',
    trouble: null,
    keys: ['aaaa', 'bbbb', 'cccc'],
    sealed: [
      { key: 'aaaa', values: 3, is_here: true },
      { key: 'bbbb', values: 1, is_here: true },
      { key: 'dddd', values: 2, is_here: false },
    ],
    plain: 0,
  })
  expect(shown).toContain('aaaa  seals, 3 values')
  expect(shown).toContain('bbbb  opens, 1 values')
  expect(shown).toContain('cccc  may go, 0 values')
  expect(shown).toContain('dddd is not here, and 2 values')
})
