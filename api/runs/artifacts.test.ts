import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ambient } from '../../cli/testing/command.ts'
import { TOOLS_PASS_HEADER } from '../../domain/tools.ts'
import { createFileStore } from '../../objects/files.ts'
import { dropContents } from '../../objects/upkeep.ts'
import { openEnvironment } from '../../secrets/vault/inline.ts'
import { lockRun } from '../../store/locking.ts'
import { issueCredentials } from '../../store/runs/credentials.ts'
import { acceptMail } from '../../store/runs/mail.ts'
import { changeState } from '../../store/runs/states.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'
import { callTool, passOf, type ToolAnswer } from '../../test/support/tools.ts'

let data: string
let api: TestApi

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'ambient-artifacts-'))
  const env = { AMBIENT_DATA: data, AMBIENT_ARTIFACT_MB: '1', AMBIENT_ARTIFACTS: '4', AMBIENT_CHILDREN: '2' }
  api = await startTestApi({ env: { ...env, AMBIENT_ATTACHMENT_MB: '0.1', AMBIENT_CHILD_DEPTH: '1' } })
})
afterAll(async () => {
  await api.close()
  await rm(data, { recursive: true })
})

interface Working {
  id: string
  token: string
  mailId: string
  tool(name: string, args: Record<string, unknown>): Promise<ToolAnswer>
}

/** A run whose host holds it and whose agent is at its first message. */
async function working(body: Record<string, unknown> = {}): Promise<Working> {
  const started = await api.call('POST', '/agent/runs', { prompt: 'Do it', ...body })
  expect(started.status).toBe(200)
  const id = started.body.run_id
  await api.hold(id)
  const mailId = await takeUp(id)
  const { toolToken } = await issueCredentials(api.db, { runId: id, execution: 1 })
  const pass = await passOf(api.db, toolToken)
  const tool: Working['tool'] = (name, args) => callTool(`${api.url}/internal/v1/tools`, toolToken, name, args, pass)
  return { id, token: toolToken, mailId, tool }
}

/** As its workflow does with the message that waits. */
async function takeUp(runId: string): Promise<string> {
  const { id } = await api.db
    .selectFrom('mail')
    .select('id')
    .where('run_id', '=', runId)
    .where('accepted_at', 'is', null)
    .executeTakeFirstOrThrow()
  await acceptMail(api.db, { runId, key: `taken/${id}`, ids: [id] })
  return id
}

async function end(runId: string): Promise<void> {
  await api.db.transaction().execute(async (tx) => {
    await changeState(tx, await lockRun(tx, runId), { execution: 1, key: 'end', state: 'SUCCEEDED' })
  })
}

const artifactsOf = async (id: string) => (await api.call('GET', `/agent/runs/${id}`)).body.artifacts
const asked = async (id: string) => (await api.host('GET', `/runs/${id}/executions/1/asked`)).body

test('a text that an agent hands over is on its run, and everybody who may see the run can download it', async () => {
  const { id, tool } = await working()
  const said = await tool('report_artifact', {
    type: 'file',
    content: 'a,b\n1,2\n',
    file_name: 'report.csv',
    title: 'Sums',
  })
  expect(said).toMatchObject({ isError: false })
  const [listed] = await artifactsOf(id)
  const uid = listed.data.artifact_uid
  expect(listed).toEqual({
    artifact_type: 'FILE',
    created_at: expect.any(String),
    data: {
      artifact_uid: uid,
      filename: 'report.csv',
      filepath: 'report.csv',
      mime_type: 'text/csv',
      title: 'Sums',
      size_bytes: 8,
    },
  })
  const { body } = await api.call('GET', `/agent/artifacts/${uid}`)
  expect(body).toMatchObject({
    artifact_uid: uid,
    artifact_type: 'FILE',
    data: { filename: 'report.csv', size_bytes: 8 },
  })
  expect(Date.parse(body.data.expires_at)).toBeGreaterThan(Date.now() + 3_500_000)

  const redirect = await fetch(`${api.url}/api/v1/agent/artifacts/${uid}/download`, {
    headers: { authorization: `Bearer ${api.key}` },
    redirect: 'manual',
  })
  expect(redirect.status).toBe(302)
  const served = await fetch(redirect.headers.get('location') ?? '')
  expect(await served.text()).toBe('a,b\n1,2\n')
  expect(Object.fromEntries(served.headers)).toMatchObject({
    'content-type': 'text/csv',
    'content-disposition': `attachment; filename="report.csv"; filename*=UTF-8''report.csv`,
    'content-security-policy': "sandbox; default-src 'none'",
    'x-content-type-options': 'nosniff',
  })
  expect((await api.call('GET', `/agent/runs?artifact_type=FILE&ancestor_run_id=${id}`)).body.runs).toEqual([])
  const found = (await api.call('GET', '/agent/runs?artifact_type=FILE')).body.runs
  expect(found.map((run: { run_id: string }) => run.run_id)).toContain(id)
  expect((await api.call('GET', '/agent/runs?artifact_type=PULL_REQUEST')).body.runs).toEqual([])
})

test('the command line lists what a run has handed over, and writes its content', async () => {
  const { id, tool } = await working({ title: 'Reports' })
  await tool('report_artifact', { type: 'file', file_name: 'report.csv', content: 'a,b\n', title: 'The figures' })
  await tool('report_artifact', { type: 'external_reference', url: 'https://t.example/7', reference_type: 'ticket' })
  const cli = async (...args: string[]) => {
    const done = await ambient(args, { url: api.url, env: { AMBIENT_API_KEY: api.key } })
    expect({ args, ...done }).toMatchObject({ code: 0 })
    return done.stdout
  }
  const [, uid = ''] = /^(\w{22}) +FILE +The figures +4 B /m.exec(await cli('artifacts', 'list', id)) ?? []
  expect(await cli('artifacts', 'get', uid)).toBe('a,b\n')
  await cli('artifacts', 'get', uid, '--output', join(data, 'out.csv'))
  expect(await readFile(join(data, 'out.csv'), 'utf8')).toBe('a,b\n')
  expect(await cli('runs', 'show', id)).toMatch(
    new RegExp(`^Artifact +FILE {2}${uid} {2}The figures\nArtifact +EXTERNAL_REFERENCE .*https://t.example/7$`, 'm'),
  )
})

test('a link is good for the thing and the time that it was made for, and nothing else', async () => {
  const { id, tool } = await working()
  await tool('report_artifact', { type: 'file', content: '<script>x</script>', file_name: 'page.html' })
  await tool('report_artifact', { type: 'file', content: 'other', file_name: 'other.txt' })
  const [first, second] = await artifactsOf(id)
  const linkOf = async (uid: string) =>
    new URL((await api.call('GET', `/agent/artifacts/${uid}`)).body.data.download_url)
  const link = await linkOf(first.data.artifact_uid)
  const other = await linkOf(second.data.artifact_uid)
  const status = async (url: URL) => (await fetch(url)).status
  expect(await status(link)).toBe(200)
  expect((await fetch(link)).headers.get('content-type')).toBe('application/octet-stream')

  const elsewhere = new URL(link)
  elsewhere.pathname = other.pathname
  const asPage = new URL(link)
  asPage.pathname = link.pathname.replace('text%2Fhtml', 'text%2Fplain')
  const longer = new URL(link)
  longer.searchParams.set('expires', String(Number(link.searchParams.get('expires')) + 1))
  const bare = new URL(link)
  bare.search = ''
  for (const forged of [elsewhere, asPage, longer, bare]) expect(await status(forged)).toBe(403)
})

test('a link ends with its time', async () => {
  const { isSigned, signLink } = await import('../links.ts')
  const { path } = signLink('a key of sixteen', '/contents/x', 60)
  const query = new URL(path, 'http://server').searchParams
  expect(isSigned('a key of sixteen', '/contents/x', query)).toBe(true)
  expect(isSigned('another key of it', '/contents/x', query)).toBe(false)
  const over = new URL(signLink('a key of sixteen', '/contents/x', -1).path, 'http://server').searchParams
  expect(isSigned('a key of sixteen', '/contents/x', over)).toBe(false)
})

test('a plan is read as it was written, and a link is served as it was reported', async () => {
  const { id, tool } = await working()
  await tool('report_artifact', { type: 'plan', content: '# First\n', title: 'The plan' })
  await tool('report_artifact', { type: 'pull_request', url: 'https://forge.example/a/b/pull/1', branch: 'fix' })
  await tool('report_artifact', { type: 'external_reference', url: 'https://x.example/7', reference_type: 'issue' })
  const artifacts = await artifactsOf(id)
  expect(artifacts.map((artifact: { artifact_type: string }) => artifact.artifact_type)).toEqual([
    'PLAN',
    'PULL_REQUEST',
    'EXTERNAL_REFERENCE',
  ])
  const details = []
  for (const { data } of artifacts) details.push((await api.call('GET', `/agent/artifacts/${data.artifact_uid}`)).body)
  expect(details).toMatchObject([
    { artifact_type: 'PLAN', data: { content: '# First\n', content_type: 'text/markdown', title: 'The plan' } },
    { artifact_type: 'PULL_REQUEST', data: { url: 'https://forge.example/a/b/pull/1', branch: 'fix' } },
    { artifact_type: 'EXTERNAL_REFERENCE', data: { reference_type: 'issue', url: 'https://x.example/7' } },
  ])
  expect((await api.call('GET', `/agent/artifacts/${artifacts[1].data.artifact_uid}/download`)).status).toBe(404)
})

test('a run is found by a URL that is long in the form in which it is looked up', async () => {
  const { id, tool } = await working()
  // Each letter is nine there.
  const letters = Array.from({ length: 1_000 }, (_, n) =>
    String.fromCodePoint(0x4e00 + ((n * n * 7_919) % 20_000)),
  ).join('')
  const url = `https://x.example/${letters}`
  const said = await tool('report_artifact', { type: 'external_reference', url, reference_type: 'page' })
  expect(said).toMatchObject({ status: 200, isError: false })
  const { body } = await api.call('GET', `/agent/run-by-external-reference?url=${encodeURIComponent(`${url}/`)}`)
  expect(body).toEqual({ run_id: id })
})

test('a file of the workspace is fetched by its host, once; one that cannot be had is taken back, and told', async () => {
  const { id, tool } = await working()
  const hook = { name: 'h', url: 'http://127.0.0.1:9/', events: ['run.artifact'] }
  expect((await api.call('POST', '/agent/webhooks', hook)).status).toBe(201)
  await tool('report_artifact', { type: 'screenshot', path: 'shot.png', description: 'The page' })
  await tool('report_artifact', { type: 'file', path: '/etc/shadow' })
  const { files, max_file_bytes: max } = await asked(id)
  expect([files.map(({ path }: { path: string }) => path), max]).toEqual([['shot.png', '/etc/shadow'], 1024 * 1024])
  const [shot, shadow] = files
  expect((await api.call('GET', `/agent/artifacts/${shot.artifact_uid}`)).status).toBe(404)

  const put = (content: string) =>
    fetch(`${api.url}/internal/v1/runs/${id}/executions/1/artifacts/${shot.artifact_uid}`, {
      method: 'PUT',
      headers: {
        authorization: `Bearer ${HOST.key}`,
        'x-ambient-host': HOST.id,
        'x-ambient-host-secret': HOST.secret,
        'content-type': 'application/octet-stream',
      },
      body: content,
    })
  expect((await put('png')).status).toBe(200)
  expect((await put('another')).status).toBe(200)
  await api.host('POST', `/runs/${id}/executions/1/artifacts/${shadow.artifact_uid}/refused`, { reason: 'not there' })
  expect((await asked(id)).files).toEqual([])
  const { body } = await api.call('GET', `/agent/artifacts/${shot.artifact_uid}`)
  expect(body.data).toMatchObject({ content_type: 'image/png', description: 'The page' })
  expect(await (await fetch(body.data.download_url)).text()).toBe('png')
  expect(await artifactsOf(id)).toHaveLength(1)
  // Nobody was told of what there never was.
  const told = await api.db
    .selectFrom('webhook_deliveries')
    .select(['event', 'data'])
    .where('run_id', '=', id)
    .execute()
  expect(told).toMatchObject([{ event: 'run.artifact', data: { artifact_uid: shot.artifact_uid } }])
  const { events } = (await api.call('GET', `/agent/runs/${id}/events?kind=warning`)).body
  expect(events).toMatchObject([
    { data: { code: 'artifact_not_taken', message: expect.stringContaining('/etc/shadow was reported') } },
  ])
})

test('limits are told with what to do', async () => {
  const { id, tool } = await working()
  const large = 'x'.repeat(1024 * 1024 + 1)
  const base64 = Buffer.from(large).toString('base64')
  expect(await tool('report_artifact', { type: 'file', file_name: 'a', content_base64: base64 })).toMatchObject({
    isError: true,
    text: expect.stringContaining('larger than 1 MiB, which is the most (AMBIENT_ARTIFACT_MB)'),
  })
  const report = (name: string) => tool('report_artifact', { type: 'file', content: name, file_name: name })
  for (const name of ['1', '2', '3', '3']) expect(await report(name)).toMatchObject({ isError: false })
  expect(await report('4')).toMatchObject({ isError: false })
  const stored = () => api.db.selectFrom('contents').select('uid').execute()
  const before = await stored()
  expect(await report('5')).toMatchObject({ isError: true, text: expect.stringContaining('AMBIENT_ARTIFACTS') })
  expect(await report('4')).toMatchObject({ isError: false })
  expect(await tool('toString', {})).toMatchObject({ text: expect.stringContaining('There is no tool toString') })
  await end(id)
  expect(await report('6')).toMatchObject({ isError: true })
  // What is not taken fills no disk.
  expect(await stored()).toEqual(before)
})

test('the latest ended execution hands its files over', async () => {
  const { id, tool } = await working()
  await tool('report_artifact', { type: 'file', content: 'x', file_name: 'é.txt' })
  const handoff = () => api.call('GET', `/agent/runs/${id}/handoff/attachments`)
  expect((await handoff()).body).toEqual({ attachments: [] })
  await end(id)
  const { attachments } = (await handoff()).body
  expect(attachments).toMatchObject([{ filename: 'é.txt', mime_type: 'text/plain' }])
  expect(await (await fetch(attachments[0].download_url)).text()).toBe('x')
})

test('files that come with a message reach the host with it, and stay out of rows', async () => {
  const attachments = [{ file_name: 'spec.txt', mime_type: 'text/plain', data: Buffer.from('spec').toString('base64') }]
  const images = [{ mime_type: 'image/png', data: Buffer.from('pixels').toString('base64') }]
  const { id, mailId } = await working({ attachments, images })
  const message = (await api.host('GET', `/runs/${id}/messages/${mailId}`)).body
  expect(message.attachments).toEqual([
    { uid: expect.any(String), file_name: 'spec.txt', mime_type: 'text/plain', bytes: 4 },
    { uid: expect.any(String), file_name: 'image-1.png', mime_type: 'image/png', bytes: 6 },
  ])
  expect((await api.host('GET', `/runs/${id}/attachments/${message.attachments[0].uid}`)).body).toBe('spec')
  const row = await api.db.selectFrom('runs').selectAll().where('id', '=', id).executeTakeFirstOrThrow()
  expect(JSON.stringify(row)).not.toContain(attachments[0]?.data)

  const followUp = await api.call('POST', `/agent/runs/${id}/followups`, { message: 'And this', attachments })
  const next = (await api.host('GET', `/runs/${id}/messages/${followUp.body.message_id}`)).body
  expect(next.attachments).toMatchObject([{ file_name: 'spec.txt', bytes: 4 }])
})

test.each([
  [
    'six files',
    { attachments: Array.from({ length: 6 }, (_, n) => ({ file_name: `${n}`, mime_type: 'a/b', data: 'eA==' })) },
    /attachments/,
  ],
  [
    'no base64',
    { attachments: [{ file_name: 'a', mime_type: 'a/b', data: 'e?' }] },
    /attachments\.0\.data: must be base64/,
  ],
  [
    'a path for a name',
    { attachments: [{ file_name: '../a', mime_type: 'a/b', data: 'eA==' }] },
    /attachments\.0\.file_name/,
  ],
  [
    'a file that is too large',
    { attachments: [{ file_name: 'a', mime_type: 'a/b', data: 'eHh4'.repeat(40_000) }] },
    /AMBIENT_ATTACHMENT_MB/,
  ],
  [
    'a picture that is none',
    { images: [{ mime_type: 'text/html', data: 'eA==' }] },
    /images\.0\.mime_type: must be one of/,
  ],
])('a message with %s is refused by name', async (_what, body, words) => {
  const answer = await api.call('POST', '/agent/runs', { prompt: 'Do it', ...body })
  expect([answer.status, answer.body.detail]).toEqual([400, expect.stringMatching(words)])
})

test('a call of a tool that is made again, after whatever crash, does nothing twice', async () => {
  const { id, tool } = await working()
  const progress = { message: 'Half way', percent: 50 }
  const report = { type: 'file', content: 'x', file_name: 'a.txt' }
  const child = { prompt: 'Help me' }
  for (const [name, args] of [
    ['post_progress', progress],
    ['report_artifact', report],
    ['start_child_run', child],
  ] as const) {
    // One that was lost in the middle, and its successor that comes at the same time.
    const answers = await Promise.all([tool(name, args), tool(name, args)])
    expect(answers[1]).toEqual(answers[0])
    expect(await tool(name, args)).toEqual(answers[0])
    expect(answers[0]).toMatchObject({ isError: false })
  }
  const { body } = await api.call('GET', `/agent/runs/${id}/events?kind=progress&kind=artifact&kind=child`)
  expect(body.events.map(({ kind }: { kind: string }) => kind)).toEqual(['progress', 'artifact', 'child'])
  expect((await api.call('GET', `/agent/runs/${id}`)).body).toMatchObject({ artifacts: [{}], children: [{}] })

  // Meant twice: by a key of its own, or for another message.
  expect(await tool('start_child_run', { ...child, key: 'second' })).toMatchObject({ isError: false })
  await api.call('POST', `/agent/runs/${id}/followups`, { message: 'Go on' })
  await takeUp(id)
  await tool('post_progress', progress)
  expect((await api.call('GET', `/agent/runs/${id}/events?kind=progress`)).body.events).toHaveLength(2)
})

test('a child has no more rights than its parent, and there is an end to children', async () => {
  const environment = {
    repos: [{ url: 'https://git.example/a/b.git', push_branch: 'work' }],
    env: { TOKEN: 'of the parent' },
  }
  const limits = { budget: { usd: 2 }, tree_budget: { usd: 5 } }
  const config = { permission_policy: 'ask', max_turn_minutes: 7, worker_host: 'small', ...limits }
  const { id, tool } = await working({ environment, config, priority: -3 })
  const { text } = await tool('start_child_run', { prompt: 'Look at the tests', agent: 'codex' })
  const childId = /[0-9a-f-]{36}/.exec(text)?.[0] ?? ''
  const child = (await api.call('GET', `/agent/runs/${childId}`)).body
  expect(child).toMatchObject({
    parent_run_id: id,
    source: 'ORCHESTRATION',
    team: 'default',
    priority: -3,
    agent_config: { permission_policy: 'ask', max_turn_minutes: 7, worker_host: 'small', harness: { type: 'codex' } },
    environment: { repos: [{ url: 'https://git.example/a/b.git' }] },
  })
  expect(child.environment.repos[0]).not.toHaveProperty('push_branch')
  // It draws on its parent's, and has no further one.
  expect(child.budgets).toEqual([])
  for (const field of Object.keys(limits)) expect(child.agent_config).not.toHaveProperty(field)
  const { budgets } = (await api.call('GET', `/agent/runs/${childId}/budget`)).body
  expect(budgets).toMatchObject([{ scope: 'tree', scope_uid: id, limit: { usd: 5 } }])
  const stored = await api.db
    .selectFrom('runs')
    .select('environment')
    .where('id', '=', childId)
    .executeTakeFirstOrThrow()
  if (stored.environment === null) throw new Error('the child has no environment')
  expect(openEnvironment(api.vault, stored.environment).env).toEqual({ TOKEN: 'of the parent' })

  // What holds for the parent by its host alone, holds for the child wherever it is.
  await api.db.updateTable('runs').set({ policy: null, host_id: HOST.id }).where('id', '=', id).execute()
  const other = await tool('start_child_run', { prompt: 'Look at the documents' })
  const [otherId = ''] = /[0-9a-f-]{36}/.exec(other.text) ?? []
  expect((await api.call('GET', `/agent/runs/${otherId}`)).body.agent_config.permission_policy).toBe('ask')
  const otherRow = await api.db.selectFrom('runs').select('policy').where('id', '=', otherId).executeTakeFirst()
  expect(otherRow?.policy).toBe('ask')

  // A personal one that somebody has begun below it is for nobody who sees this run.
  const told = async (run: Record<string, unknown>) => (await tool('get_child_run', run)).text
  expect(await told({})).toContain(otherId)
  await api.db.updateTable('runs').set({ scope: 'User', created_by: 'ann' }).where('id', '=', otherId).execute()
  expect(await told({})).not.toContain(otherId)
  expect(await told({ run_id: otherId })).toMatch(/You have started no run/)
  expect(await told({})).toContain(childId)

  expect(JSON.parse((await tool('get_child_run', { run_id: childId })).text)).toMatchObject({
    state: 'QUEUED',
    is_over: false,
  })
  expect(await tool('get_child_run', { run_id: id })).toMatchObject({ isError: true })
  expect(await tool('start_child_run', { prompt: 'One more' })).toMatchObject({
    isError: true,
    text: expect.stringContaining('AMBIENT_CHILDREN'),
  })
  await api.hold(childId)
  await takeUp(childId)
  const { toolToken } = await issueCredentials(api.db, { runId: childId, execution: 1 })
  const pass = await passOf(api.db, toolToken)
  const below = await callTool(`${api.url}/internal/v1/tools`, toolToken, 'start_child_run', { prompt: 'Deeper' }, pass)
  expect(below).toMatchObject({ isError: true, text: expect.stringContaining('AMBIENT_CHILD_DEPTH') })
})

test('a question is for the turn in which it was asked, and one at a time', async () => {
  const { id, tool } = await working()
  const question = { question: 'Which one?', options: ['The red one', 'The blue one'] }
  const first = await tool('ask_person', question)
  expect(first).toMatchObject({ isError: false, text: expect.stringContaining('End your turn now') })
  expect(await tool('ask_person', question)).toEqual(first)
  expect(await tool('ask_person', { question: 'And where?' })).toMatchObject({ isError: true })
  expect((await asked(id)).question).toMatchObject({
    title: 'Which one?',
    options: [{ name: 'The red one' }, { name: 'The blue one' }],
  })
  // Whoever says something else meanwhile has overtaken it.
  await api.call('POST', `/agent/runs/${id}/followups`, { message: 'Stop that' })
  await takeUp(id)
  expect((await asked(id)).question).toBeNull()
  expect(await tool('ask_person', question)).toMatchObject({ isError: false })
})

test('the answer to a question is the next message, by option or in words', async () => {
  const { id, tool } = await working()
  const blocked = async (args: Record<string, unknown>) => {
    await tool('ask_person', args)
    const { question } = await asked(id)
    await api.db.transaction().execute(async (tx) => {
      const change = { execution: 1, key: `blocked/${question.questionId}`, state: 'BLOCKED', question } as const
      await changeState(tx, await lockRun(tx, id), change)
    })
    return (await api.call('GET', `/agent/runs/${id}`)).body
  }
  const answer = (body: object) => api.call('POST', `/agent/runs/${id}/answers`, body)
  const said = async () => (await api.host('GET', `/runs/${id}/messages/${await takeUp(id)}`)).body.text

  const run = await blocked({ question: 'Which one?', options: ['The red one', 'The blue one'], free_text: false })
  expect(run).toMatchObject({ state: 'BLOCKED', questions: [{ title: 'Which one?', free_text: false }] })
  expect((await answer({ text: 'The green one' })).status).toBe(400)
  expect((await answer({ option_id: 'allow' })).body.detail).toMatch(/option-1 \(The red one\)/)
  expect((await answer({ option_id: 'option-2' })).body).toMatchObject({ option_id: 'option-2' })
  expect((await answer({ option_id: 'option-1' })).status).toBe(409)
  expect(await said()).toBe('You asked:\n\nWhich one?\n\nThe answer is:\n\nThe blue one')

  await blocked({ question: 'What is it called?' })
  expect((await answer({ text: 'Otto' })).body).toMatchObject({ option_id: null })
  expect(await said()).toContain('The answer is:\n\nOtto')
})

test('a credential opens the tools of its run alone, through the gateway, as long as its sandbox is held', async () => {
  const { id, token, tool } = await working()
  const direct = (headers = {}) =>
    callTool(`${api.url}/internal/v1/tools`, token, 'post_progress', { message: 'x' }, headers)
  const ofAnother = await passOf(api.db, (await working()).token)
  for (const headers of [{}, ofAnother, { [TOOLS_PASS_HEADER]: token }])
    expect(await direct(headers)).toMatchObject({ status: 403, text: expect.stringContaining('through the gateway') })
  expect((await callTool(`${api.url}/internal/v1/tools`, 'amt_else', 'post_progress', { message: 'x' })).status).toBe(
    401,
  )
  expect((await callTool(`${api.url}/internal/v1/tools`, api.key, 'post_progress', { message: 'x' })).status).toBe(401)
  expect((await fetch(`${api.url}/api/v1/agent/runs`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(
    401,
  )
  await end(id)
  expect(await tool('post_progress', { message: 'Late' })).toMatchObject({
    isError: true,
    text: expect.stringContaining('The run is over'),
  })
})

test('what nothing names any more leaves the object store after a day, and what is named stays', async () => {
  const { id, tool } = await working()
  await tool('report_artifact', { type: 'file', content: 'kept', file_name: 'kept.txt' })
  // Refused after it was stored: the run has no such message.
  await api.call('POST', `/agent/runs/${id}/followups`, {
    message: 'x',
    attachments: [{ file_name: 'a', mime_type: 'a/b', data: 'eA==' }],
  })
  await api.db.deleteFrom('attachments').where('run_id', '=', id).execute()
  const inADay = (hours: number) => new Date(Date.now() - hours * 3_600_000)
  await api.db
    .updateTable('contents')
    .set({ created_at: inADay(25) })
    .execute()
  const objects = createFileStore(join(data, 'contents'))
  await dropContents(api.db, objects, 0)
  const [kept] = await artifactsOf(id)
  const { body } = await api.call('GET', `/agent/artifacts/${kept.data.artifact_uid}`)
  expect(await (await fetch(body.data.download_url)).text()).toBe('kept')
  const unnamed = await api.db
    .selectFrom('contents')
    .select('uid')
    .where('uid', 'not in', (eb) =>
      eb.selectFrom('artifacts').select('content_uid').where('content_uid', 'is not', null).$castTo<string>(),
    )
    .where('uid', 'not in', (eb) =>
      eb.selectFrom('attachments').select('content_uid').where('content_uid', 'is not', null).$castTo<string>(),
    )
    .execute()
  expect(unnamed).toEqual([])
  const files = (await readdir(join(data, 'contents'), { recursive: true, withFileTypes: true })).filter((file) =>
    file.isFile(),
  )
  expect(files.length).toBe((await api.db.selectFrom('contents').select('uid').execute()).length)
  const [one] = files
  expect((await stat(join(one?.parentPath ?? '', one?.name ?? ''))).mode & 0o777).toBe(0o600)

  // With a number of days the contents of ended runs go, and what they were is still told.
  await end(id)
  await api.db
    .updateTable('runs')
    .set({ finished_at: inADay(49) })
    .where('id', '=', id)
    .execute()
  await dropContents(api.db, objects, 2)
  expect((await api.call('GET', `/agent/artifacts/${kept.data.artifact_uid}`)).body.detail).toContain(
    'not kept any more',
  )
  expect(await artifactsOf(id)).toHaveLength(1)
})
