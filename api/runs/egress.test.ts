import { afterAll, beforeAll, expect, test } from 'vitest'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenHost, givenRun } from '../../test/support/runs.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

const post = (environment: unknown, config = {}) =>
  api.call('POST', '/agent/runs', { prompt: 'x', environment, config })

test('an environment names the hosts it may reach, and the run shows them', async () => {
  const allow = ['registry.example.org', '*.example.org', 'git.example.org:8443', '198.51.100.7', '[2001:db8::7]:443']
  const { status, body } = await post({ egress: { allow } })
  expect(status).toBe(200)
  const run = await api.call('GET', `/agent/runs/${body.run_id}`)
  expect(run.body).toMatchObject({ environment: { egress: { allow } }, blocked_hosts: [] })
})

test.each([
  [{ allow: ['https://example.org'] }, /^environment\.egress\.allow\.0: must be a host/],
  [{ allow: ['example.org/path'] }, /must be a host/],
  [{ allow: ['*'] }, /must be a host/],
  [{ allow: ['a.*.example.org'] }, /must be a host/],
  [{ allow: ['example.org', 'exa mple.org'] }, /^environment\.egress\.allow\.1: must be a host/],
  [{}, 'environment.egress.allow: is required'],
  [{ allowed: ['example.org'] }, /^environment\.egress\.allowed: is not known here/],
])('%j is refused in words', async (egress, words) => {
  const { status, body } = await post({ egress })
  expect(status).toBe(400)
  if (typeof words === 'string') expect(body.detail).toBe(words)
  else expect(body.detail).toMatch(words)
})

test('a list of hosts is refused where all hosts of the pool run processes, which nobody holds to it', async () => {
  await givenHost(api.db, { id: 'bare', pool: 'bare' })
  const refused = await post({ egress: { allow: [] } }, { worker_host: 'bare' })
  expect(refused).toMatchObject({ status: 422, body: { detail: expect.stringMatching(/^environment\.egress: /) } })
})

test('an operator sees what the sandboxes of each host reach', async () => {
  const report = (egress?: string) =>
    api.host('PUT', `/hosts/${HOST.id}`, {
      pool: 'racks',
      kind: 'docker',
      version: '1',
      capacity: 1,
      in_use: 0,
      egress,
    })
  const listed = async () => {
    const { body } = await api.call('GET', '/agent/workers')
    return body.workers.find(({ pool }: { pool: string }) => pool === 'racks').egress
  }
  await report('public')
  expect(await listed()).toBe('public')
  await report('failing')
  expect(await listed()).toBe('failing')
  // A host of an older version.
  await report()
  expect(await listed()).toBeNull()
})

test('what sandboxes of a run were refused is listed on the run, however often it is told', async () => {
  const { runId } = await givenRun(api.db)
  await api.hold(runId)
  const at = (second: number) => `2026-01-02T03:04:0${second}.000Z`
  const tell = (sandbox: number, ...hosts: unknown[]) =>
    api.host('PUT', `/runs/${runId}/executions/1/blocked-hosts`, { sandbox, hosts })
  const evil = { host: 'evil.example', port: 443, count: 2, first_seen: at(2) }
  const metadata = { host: '169.254.169.254', port: 80, count: 1, first_seen: at(1) }
  expect((await tell(1, metadata, evil)).status).toBe(200)
  await tell(1, metadata, { ...evil, count: 5 })
  // A word that was late.
  await tell(1, metadata, evil)
  await tell(2, { ...evil, count: 1, first_seen: at(9) })
  const listed = [metadata, { ...evil, count: 6 }]
  expect((await api.call('GET', `/agent/runs/${runId}`)).body.blocked_hosts).toEqual(listed)
  const { body } = await api.call('GET', '/agent/runs')
  const [run] = body.runs.filter(({ run_id: id }: { run_id: string }) => id === runId)
  expect(run.blocked_hosts).toEqual(listed)
})
