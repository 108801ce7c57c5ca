import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parseTokens } from '../domain/git/forge-tokens.ts'
import { type ForgeServer, githubServer, gitlabServer } from '../test/support/forge-server.ts'
import { bareRepository, commitFiles, personalGit, workOf } from '../test/support/git-server.ts'
import { createForgeAccess } from './access.ts'
import type { ForgeError } from './forge.ts'
import { type Opened, openPullRequest, type Wanted } from './open.ts'

const kinds = {
  github: {
    server: githubServer,
    create: 'POST /repos/you/app/pulls',
    failing: 'POST /pulls',
    title: 'Add a greeting',
    url: 'https://forge.test/you/app/pull/1',
    reviewers: ['ada', 'team/core'],
  },
  gitlab: {
    server: gitlabServer,
    create: 'POST /projects/you/app/merge_requests',
    failing: 'POST /merge_requests',
    title: 'Draft: Add a greeting',
    url: 'https://forge.test/you/app/-/merge_requests/1',
    // By their numbers there.
    reviewers: ['1003'],
  },
} as const

const wanted: Wanted = {
  branch: 'agent/work',
  base: null,
  ref: null,
  title: 'Add a greeting',
  body: 'What was done.\n\n<!-- ambient-run: 1 -->',
  draft: true,
  labels: [],
  reviewers: [],
  mark: '<!-- ambient-run: 1 -->',
  known: null,
}

let root: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'ambient-forge-'))
  await bareRepository(root, 'you/app.git', { file: 'one\n' })
  const work = workOf(root, 'you/app.git')
  personalGit(work, 'push', '--quiet', 'origin', 'HEAD:develop', 'HEAD:agent/empty')
  personalGit(work, 'checkout', '--quiet', '-b', 'agent/work')
  await commitFiles(work, { greeting: 'hello\n' }, 'Add a greeting')
})
afterAll(() => rm(root, { recursive: true, force: true }))

describe.each(['github', 'gitlab'] as const)('on %s', (kind) => {
  const { server: makeServer, create, failing, title, url, reviewers } = kinds[kind]
  let forge: ForgeServer
  let http: Server
  let address: string

  beforeEach(async () => {
    forge = makeServer(root)
    http = createServer(forge.listener)
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    address = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
    return () => http.close()
  })

  async function open(asked: Partial<Wanted> = {}, path = 'you/app'): Promise<Opened> {
    const none = { tokens: undefined, file: undefined }
    const tokens = { tokens: `${address}=${forge.token}`, file: undefined }
    const access = createForgeAccess({ github: none, gitlab: none, [kind]: tokens })
    const repository = await access.repository(`${address}/${path}.git`, 'run', AbortSignal.timeout(20_000))
    return openPullRequest(repository, { ...wanted, ...asked })
  }

  const failure = (asked?: Partial<Wanted>, path?: string): Promise<ForgeError> =>
    open(asked, path).then(
      (opened) => expect.fail(`it was opened: ${opened.url}`),
      (error) => error,
    )

  test('a draft is opened against the default branch', async () => {
    expect(await open()).toEqual({ number: 1, url, status: 'draft', taken: false, notes: [] })
    expect(forge.pulls).toMatchObject([{ branch: 'agent/work', base: 'main', title, draft: true, state: 'open' }])
  })

  test('it is opened ready for review, against another branch, with labels and reviewers', async () => {
    const names = kind === 'github' ? reviewers : ['ada']
    const opened = await open({ draft: false, base: 'develop', labels: ['agent', 'small'], reviewers: names })
    expect(opened).toMatchObject({ status: 'open', notes: [] })
    expect(forge.pulls).toMatchObject([
      { base: 'develop', title: 'Add a greeting', labels: ['agent', 'small'], reviewers },
    ])
  })

  test('the branch that the run began from is what it is to be merged into', async () => {
    await open({ ref: 'develop' })
    expect(forge.pulls[0]?.base).toBe('develop')
  })

  test.each(['v1.0', 'agent/work'])('begun from %s, it is for the default branch', async (ref) => {
    await open({ ref })
    expect(forge.pulls[0]?.base).toBe('main')
  })

  test('the one that people have opened is taken, and nothing of it is changed', async () => {
    await open({ body: 'By hand.', mark: 'x', draft: false })
    const before = structuredClone(forge.pulls)
    expect(await open({ labels: ['agent'], reviewers: ['ada'] })).toEqual({
      ...{ number: 1, url, status: 'open', taken: true, notes: [] },
    })
    expect(forge.pulls).toEqual(before)
  })

  test('one that was opened in the same moment is taken', async () => {
    forge.refusals.push({ on: failing, status: 201, body: {}, done: true })
    // What was made is not known here, for the answer says nothing.
    expect(await failure()).toMatchObject({ code: 'unavailable' })
    expect(await open()).toMatchObject({ url, taken: false })
    expect(forge.pulls).toHaveLength(1)
  })

  test('what a process that died had not come to is done by the next one, and once', async () => {
    await open()
    await open({ labels: ['agent'] })
    expect(forge.pulls[0]?.labels).toEqual(['agent'])
    // A person takes the label away; then more is pushed.
    forge.pulls[0]?.labels.pop()
    await open({ labels: ['agent'], known: url })
    expect(forge.pulls[0]?.labels).toEqual([])
  })

  test('after one that was merged, there is another', async () => {
    await open()
    Object.assign(forge.pulls[0] ?? {}, { state: 'merged' })
    expect(await open({ known: url })).toMatchObject({ number: 2, status: 'draft' })
  })

  test('one that somebody has closed is not opened again', async () => {
    await open()
    Object.assign(forge.pulls[0] ?? {}, { state: 'closed' })
    expect(await failure({ known: url })).toMatchObject({ code: 'closed_by_person' })
    expect(forge.pulls).toHaveLength(1)
  })

  test('a reviewer that there is not fails nothing and is said', async () => {
    const { notes, status } = await open({ labels: ['agent'], reviewers: ['nobody'] })
    expect({ status, notes }).toEqual({
      status: 'draft',
      notes: [expect.stringMatching(kind === 'github' ? /could not be asked.*422/ : /nobody is not known/)],
    })
    expect(forge.pulls[0]?.labels).toEqual(['agent'])
  })

  test('without a commit there is none', async () => {
    expect(await failure({ branch: 'agent/empty' })).toMatchObject({ code: 'no_commits' })
    expect(forge.pulls).toEqual([])
  })

  test.each([
    ['a token that is not valid', 401, { message: '401 Unauthorized' }, {}, 'unauthorized', null],
    ['a token that may not', 403, { message: 'Resource not accessible by integration' }, {}, 'forbidden', null],
    ['a repository that cannot be seen', 404, { message: 'Not Found' }, {}, 'not_found', null],
    [
      'what it does not take',
      422,
      { message: 'Validation Failed', errors: [{ field: 'base', code: 'invalid' }] },
      {},
      'refused',
      null,
    ],
    ['too many requests', 429, 'Retry later', { 'retry-after': '30' }, 'rate_limited', 30],
    ['its own trouble', 502, '<html>Bad gateway</html>', {}, 'unavailable', null],
    ['its own trouble for a while', 503, { message: 'Maintenance' }, { 'retry-after': '120' }, 'unavailable', 120],
  ])('%s is known by what the forge answers', async (_, status, body, headers, code, afterSeconds) => {
    forge.refusals.push({ on: failing, status, body, headers: headers as Record<string, string> })
    expect(await failure()).toMatchObject({ code, afterSeconds, message: expect.stringContaining(String(status)) })
  })

  test('whoever is over the limit of requests waits until it begins anew', async () => {
    const reset = String(Math.floor(Date.now() / 1000) + 90)
    const prefix = kind === 'github' ? 'x-ratelimit' : 'ratelimit'
    const headers = { [`${prefix}-remaining`]: '0', [`${prefix}-reset`]: reset }
    const body = { message: 'API rate limit exceeded for user ID 7.' }
    forge.refusals.push({ on: failing, status: 403, body, headers })
    const { code, afterSeconds } = await failure()
    expect(code).toBe('rate_limited')
    expect(afterSeconds).toBeGreaterThan(80)
    expect(afterSeconds).toBeLessThanOrEqual(90)
  })

  test('a repository that was renamed is followed, and no other server gets the token', async () => {
    const path = create.slice('POST '.length).replace('you/app', kind === 'github' ? 'you/app' : 'you%2Fapp')
    const prefix = kind === 'github' ? '/api/v3' : '/api/v4'
    const refusal = { on: failing, status: 307, body: {} }
    forge.refusals.push({ ...refusal, headers: { location: `${prefix}${path}` } })
    expect(await open()).toMatchObject({ url })
    forge.pulls.length = 0
    forge.refusals.push({ ...refusal, headers: { location: 'http://127.0.0.2:1/elsewhere' } })
    expect(await failure()).toMatchObject({ code: 'refused', message: expect.stringContaining('may have moved') })
  })

  test('a forge that does not answer is unavailable', async () => {
    http.close()
    http.closeAllConnections()
    expect(await failure()).toMatchObject({ code: 'unavailable' })
  })

  test('the wrong token is told by the forge', async () => {
    const real = forge.token
    const refused = failure()
    forge.token = 'another'
    expect(await refused).toMatchObject({ code: 'unauthorized' })
    expect((await refused).message).not.toContain(real)
  })
})

test('GitHub without drafts gets one that is none, and says so', async () => {
  const forge = githubServer(root)
  const http = createServer(forge.listener)
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const address = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const body = {
    message: 'Draft pull requests are not supported in this repository.',
    documentation_url: 'https://docs.github.com/rest/pulls/pulls#create-a-pull-request',
  }
  forge.refusals.push({ on: 'POST /pulls', status: 422, body })
  const tokens = {
    github: { tokens: `${address}=${forge.token}`, file: undefined },
    gitlab: { tokens: undefined, file: undefined },
  }
  const repository = await createForgeAccess(tokens).repository(
    `${address}/you/app`,
    'run',
    AbortSignal.timeout(20_000),
  )
  expect(await openPullRequest(repository, wanted)).toMatchObject({
    status: 'open',
    notes: ['It is no draft: the forge does not have drafts for this repository.'],
  })
  http.close()
})

describe('which forge a repository is on', () => {
  const github = { tokens: 'gh-token,git.example.com=ghe-token', file: undefined }
  const gitlab = { tokens: 'https://code.example.com/gitlab=gl-token', file: undefined }
  const find = (url: string) => createForgeAccess({ github, gitlab }).repository(url, 'run', AbortSignal.timeout(1_000))

  test.each([
    'https://github.com/you/app.git',
    'https://GitHub.com/you/app',
    'git@github.com:you/app.git',
    'ssh://git@git.example.com:2222/you/app.git',
    'https://user:secret@git.example.com/you/app.git',
    'https://code.example.com/gitlab/group/sub/app.git',
    'git@code.example.com:group/sub/app.git',
  ])('%s has one', async (url) => {
    expect(await find(url)).toBeDefined()
  })

  test.each([
    ['https://gitlab.com/you/app.git', 'no_token'],
    ['https://elsewhere.example.com/you/app.git', 'unknown_forge'],
    ['https://code.example.com/other/app.git', 'unknown_forge'],
    ['file:///srv/app.git', 'unknown_forge'],
    ['https://you:secret@github.com/you/%zz.git', 'unknown_forge'],
    ['git@github.com:../../user', 'unknown_forge'],
  ])('%s has none: %s', async (url, code) => {
    await expect(find(url)).rejects.toMatchObject({ code, message: expect.not.stringContaining('secret') })
  })

  test('a file of tokens is read anew for each use', async () => {
    const file = join(root, 'tokens')
    await writeFile(file, '# of this team\n')
    const access = createForgeAccess({
      github: { tokens: undefined, file },
      gitlab: { tokens: undefined, file: undefined },
    })
    const find = () => access.repository('https://github.com/you/app', 'run', AbortSignal.timeout(1_000))
    await expect(find()).rejects.toMatchObject({ code: 'no_token' })
    await writeFile(file, 'gh-token\n')
    expect(await find()).toBeDefined()
    await rm(file)
    await expect(find()).rejects.toMatchObject({ code: 'no_token' })
  })

  test('tokens may be for several servers', () => {
    expect(parseTokens('abc, git.example.com = d=e,\nhttp://127.0.0.1:8080/x/=f\n# g')).toEqual([
      { server: null, token: 'abc' },
      { server: 'https://git.example.com', token: 'd=e' },
      { server: 'http://127.0.0.1:8080/x', token: 'f' },
    ])
  })
})
