import { expect, test } from 'vitest'
import { parseSkillName, repositoryName } from './skill.ts'
import { readSkillText } from './skill-file.ts'

const skill = (head: string, body = 'Do it.') => readSkillText(`---\n${head}\n---\n\n${body}\n`)

test('a head of YAML says what a skill is called and what it is for', () => {
  expect(skill('name: deploy\ndescription: >\n  Deploys\n  the project.\nallowed-tools: [Bash]')).toEqual({
    name: 'deploy',
    description: 'Deploys the project.',
    body: 'Do it.',
    problem: null,
  })
  expect(readSkillText('\uFEFF---\r\nname: "a: b"\r\ndescription: x\r\n---\r\nText').problem).toContain('characters')
  expect(readSkillText('---\r\nname: a\r\ndescription: x\r\n---\r\nText\r\n---\r\nmore')).toMatchObject({
    body: 'Text\r\n---\r\nmore',
    problem: null,
  })
})

test.each([
  ['Just text', /does not begin with a head/],
  ['---\nname: x\n', /does not begin with a head/],
  ['---\nname: [\ndescription: x\n---\nText', /no YAML/],
  ['---\ndescription: x\n---\nText', /no name/],
  ['---\nname: x\n---\nText', /no description/],
  ['---\nname: [x]\ndescription: x\n---\nText', /no name/],
  ['---\njust words\n---\nText', /no name/],
  [`---\nname: ${'x'.repeat(65)}\ndescription: x\n---\nText`, /64 characters/],
  [`---\nname: x\ndescription: ${'x'.repeat(1_025)}\n---\nText`, /1024 characters/],
  ['---\nname: *nobody\ndescription: x\n---\nText', /no name|no YAML/],
  ['---\nname: ../../etc\ndescription: x\n---\nText', /other characters/],
  ['---\nname: x\ndescription: x\n---\n\n', /no text/],
])('%j is no skill, and it is said why', (text, why) => {
  expect(readSkillText(text).problem).toMatch(why)
})

test.each([
  ['deploy', { owner: null, repo: null, rest: 'deploy' }],
  ['app:deploy', { owner: null, repo: 'app', rest: 'deploy' }],
  ['you/app:.claude/skills/x/SKILL.md', { owner: 'you', repo: 'app', rest: '.claude/skills/x/SKILL.md' }],
  ['group/sub/app:/skills/x', { owner: 'group/sub', repo: 'app', rest: 'skills/x' }],
])('%s names a skill', (text, reference) => {
  expect(parseSkillName(text)).toEqual(reference)
})

test.each([
  ['https://github.com/you/app.git', 'you', 'app'],
  ['git@gitlab.com:group/sub/app.git', 'group/sub', 'app'],
  ['ssh://git@host:22/you/app/', 'you', 'app'],
  ['file:///srv/repos/app', 'repos', 'app'],
])('%s is a repository of somebody', (url, owner, repo) => {
  expect(repositoryName(url)).toEqual({ owner, repo })
})

const N = 100_000
test.each([
  ['deep', `a: ${'['.repeat(N)}`],
  ['deep within what is read', `a: ${'['.repeat(4_000)}`],
  ['made of itself', `a: &a [${'*a,'.repeat(2_000)}]`],
  ['long', Array.from({ length: N / 10 }, (_, at) => `k${at}: x`).join('\n')],
])('a head that is %s is told as a problem, and holds nobody up', (_what, head) => {
  const began = performance.now()
  expect(skill(head).problem).toEqual(expect.any(String))
  expect(performance.now() - began).toBeLessThan(1_000)
})
