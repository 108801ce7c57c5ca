import { expect, test } from 'vitest'
import { rulesFor } from './rules.ts'

const environment = (...names: string[]) => ({
  repos: names.map((name) => ({ url: `https://git.example/you/${name}.git` })),
  setup_commands: [],
  env: {},
})

test('an agent in one repository is told the rules alone, and above several to read what each says', () => {
  expect(rulesFor({ rules: 'Be brief.\n', environment: environment('a') })).toBe('Be brief.\n')
  expect(rulesFor({ rules: null, environment: environment('a') })).toBeNull()
  const hint = expect.stringMatching(/^There are several[\s\S]*AGENTS\.md[\s\S]*\n- a\n- b\n$/)
  expect(rulesFor({ rules: null, environment: environment('a', 'b') })).toEqual(hint)
  expect(rulesFor({ rules: 'Be brief.\n', environment: environment('a', 'b') })).toMatch(/^Be brief\.\n\nThere are/)
})
