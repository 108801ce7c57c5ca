import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readValue, refuseBad } from './commands/secrets.ts'
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

test('what of a .env file cannot be kept is named with its line, before anything is kept', () => {
  const text = 'GOOD=1\nmy-key=2\n  export PATH=3\nEMPTY=\n'
  expect(() => refuseBad(text, readDotenv(text))).toThrow(
    /^Nothing was kept\.\n {2}line 3: PATH: its name is a reserved name\n {2}line 2: my-key: its name must be letters/,
  )
  expect(refuseBad('GOOD=1', [['GOOD', '1']])).toBeUndefined()
})

test('bytes that are no text are refused, since a run would get others', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-secret-'))
  const write = (bytes: Uint8Array) => writeFile(join(directory, 'value'), bytes)
  await write(Buffer.from([0xff, 0xfe, 0x00]))
  await expect(readValue(join(directory, 'value'))).rejects.toMatchObject({
    message: expect.stringContaining('is no UTF-8 text'),
    hint: expect.stringContaining('base64'),
  })
  await write(Buffer.from('\uFEFFgrün\n'))
  expect(await readValue(join(directory, 'value'))).toBe('\uFEFFgrün\n')
  await rm(directory, { recursive: true })
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
  expect(shown).toContain('! 2 stored values cannot be opened with the keys given: they are sealed under dddd (2).')
})
