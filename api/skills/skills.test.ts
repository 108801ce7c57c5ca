import { randomUUID } from 'node:crypto'
import OzAPI from 'oz-agent-sdk'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { SkillList } from '../../domain/configuration/skill.ts'
import type { RunItem } from '../../domain/run.ts'
import { askForReading } from '../../store/skills/readings.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
  const report = { pool: 'default', kind: 'direct', version: '1', capacity: 1000, in_use: 0 }
  await api.host('PUT', `/hosts/${HOST.id}`, report)
})
afterAll(() => api.close())
beforeEach(async () => {
  const { body } = await api.call('GET', '/agent/environments')
  for (const { uid } of body.environments) await api.call('DELETE', `/agent/environments/${uid}`)
})

const unique = (name: string) => `${name}-${randomUUID().slice(0, 8)}`
const text = (name: string, body = `What ${name} does.`) =>
  `---\nname: ${name}\ndescription: For ${name}.\n---\n${body}\n`

interface Given {
  path: string
  text: string
  files?: { path: string; executable: boolean; content: string }[]
}
type GivenRepository = { revision: string; skills: Given[] } | { failure: string }

const urls = new Map<string, string[]>()

/** An environment of these repositories. @returns its uid */
async function environment(...given: string[]): Promise<string> {
  const body = { name: unique('environment'), repos: given.map((url, index) => ({ url, path: `r${index}` })) }
  const { uid } = (await api.call('POST', '/agent/environments', body)).body
  urls.set(uid, given)
  return uid
}

/** What a host hands over that has read the repositories of an environment. */
async function read(environmentId: string, ...repositories: GivenRepository[]): Promise<void> {
  const reading = await api.db.transaction().execute((tx) => askForReading(tx, environmentId, 'default'))
  const order = await api.host('GET', `/skill-readings/${reading}`)
  expect(order).toMatchObject({ status: 200, body: { environment_id: environmentId, team: 'default' } })
  // With whatever its URLs have as credentials: the host is to get at them.
  expect(order.body.repositories.map(({ url }: { url: string }) => url)).toEqual(urls.get(environmentId))
  const body = {
    repositories: repositories.map((repository) =>
      'failure' in repository
        ? { revision: null, failure: repository.failure, skills: [] }
        : {
            ...repository,
            failure: null,
            skills: repository.skills.map((skill) => ({ files: [], problem: null, ...skill })),
          },
    ),
  }
  expect((await api.host('PUT', `/skill-readings/${reading}`, body)).status).toBe(200)
  // Handed over again after a lost answer, it is over.
  expect((await api.host('PUT', `/skill-readings/${reading}`, body)).status).toBe(404)
}

/** False once there is a reading that waits for its host. */
async function openReading(environmentId: string): Promise<boolean> {
  for (;;) {
    const open = await api.db
      .selectFrom('skill_readings')
      .select('id')
      .where('environment_id', '=', environmentId)
      .where('finished_at', 'is', null)
      .executeTakeFirst()
    if (open) return false
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const at = (folder: string, given: string): Given => ({ path: `${folder}/SKILL.md`, text: given })
const start = (body: Record<string, unknown>) => api.call('POST', '/agent/runs', body)
const item = async (body: Record<string, unknown>): Promise<RunItem> => {
  const started = await start(body)
  expect(started).toMatchObject({ status: 200 })
  return (await api.call<RunItem>('GET', `/agent/runs/${started.body.run_id}`)).body
}
const list = async (query = '') => (await api.call<SkillList>('GET', `/agent${query}`)).body

describe('the list', () => {
  test('has each skill under its name, with where it is and what it says', async () => {
    const one = await environment('https://token@github.com/You/app.git')
    const two = await environment('https://github.com/you/app', 'git@gitlab.com:group/sub/tools.git')
    const app = { revision: 'a1', skills: [at('.claude/skills/deploy', text('deploy'))] }
    await read(one, app)
    await read(two, app, {
      revision: 'b1',
      skills: [at('skills/lint', text('lint')), at('.agents/skills/broken', 'no head')],
    })

    const { agents, unread } = await list()
    expect(unread).toBeUndefined()
    expect(agents.map(({ name }) => name)).toEqual(['deploy', 'lint'])
    expect(agents[0]?.variants).toMatchObject([
      {
        id: 'You/app:.claude/skills/deploy/SKILL.md',
        description: 'For deploy.',
        base_prompt: 'What deploy does.',
        source: { owner: 'You', name: 'app', skill_path: '.claude/skills/deploy/SKILL.md' },
        revision: 'a1',
      },
      { environments: [{ uid: two }] },
    ])
    expect((await list('?repo=group/sub/tools')).agents.map(({ name }) => name)).toEqual(['lint'])
    const all = await list('?include_malformed_skills=true&repo=group/sub/tools')
    expect(all.agents[0]).toMatchObject({ name: 'broken', variants: [{ error: expect.stringContaining('head') }] })
    expect((await api.call('GET', '/agent?repo=nonsense')).status).toBe(400)

    const oz = new OzAPI({ apiKey: api.key, baseURL: `${api.url}/api/v1` })
    expect((await oz.agent.list({ sort_by: 'name' })).agents).toHaveLength(2)
  })

  test('says of which repositories it knows nothing, and why', async () => {
    const uid = await environment('https://github.com/you/one', 'https://github.com/you/two')
    expect((await list()).unread).toMatchObject([{ environment: { uid }, repository: null }])
    await read(uid, { revision: 'a1', skills: [at('skills/x', text('x'))] }, { failure: 'Access to it was denied.' })
    expect((await list()).unread).toEqual([
      {
        environment: expect.objectContaining({ uid }),
        repository: 'https://github.com/you/two',
        reason: 'Access to it was denied.',
      },
    ])
    // What was known of it stays known while it cannot be read.
    await read(uid, { failure: 'Its server does not answer.' }, { revision: 'b1', skills: [] })
    expect((await list()).agents.map(({ name }) => name)).toEqual(['x'])
  })

  test('is sorted by the last run where that is asked for', async () => {
    const uid = await environment('https://github.com/you/app')
    await read(uid, { revision: 'a1', skills: ['a', 'b', 'c'].map((name) => at(`skills/${name}`, text(name))) })
    const { created_at: time } = await item({ skill: 'b' })
    const sorted = await list('?sort_by=last_run')
    expect(sorted.agents.map(({ name }) => name)).toEqual(['b', 'a', 'c'])
    expect(sorted.agents[0]?.variants[0]?.last_run_timestamp).toBe(time)
  })

  test('waits for the hosts where they are to look again', async () => {
    const uid = await environment('https://github.com/you/app')
    const answer = list('?refresh=true')
    const done = answer.then(() => true)
    // It may have been asked for before, as for any new environment.
    while (!(await Promise.race([done, openReading(uid)])))
      await read(uid, { revision: 'a1', skills: [at('skills/x', text('x'))] })
    expect((await answer).agents.map(({ name }) => name)).toEqual(['x'])
  })

  test('of one team has nothing of another', async () => {
    const uid = await environment('https://github.com/you/app')
    await read(uid, { revision: 'a1', skills: [at('skills/x', text('x'))] })
    const { body: other } = await api.call('POST', '/agent/teams', { name: unique('team') })
    const theirs = { 'x-warp-team-uid': other.uid }
    expect((await api.call('GET', '/agent', undefined, theirs)).body.agents).toEqual([])
    expect((await api.call('POST', '/agent/runs', { skill: 'x' }, theirs)).status).toBe(404)
  })
})

test('a reading is for the host that it was given to', async () => {
  const uid = await environment('https://github.com/you/app')
  const reading = await api.db.transaction().execute((tx) => askForReading(tx, uid, 'default'))
  const as = { id: 'machine-2', secret: 'secret-of-machine-2' }
  const report = { pool: 'elsewhere', kind: 'direct', version: '1', capacity: 1, in_use: 0 }
  await api.host('PUT', `/hosts/${as.id}`, report, as)
  expect((await api.host('GET', `/skill-readings/${reading}`, undefined, as)).status).toBe(403)
})

test('what was read of an environment that has changed meanwhile is no skill of its new repositories', async () => {
  const name = unique('moved')
  const id = await environment('https://github.com/you/former')
  const reading = await api.db.transaction().execute((tx) => askForReading(tx, id, 'default'))
  const { name: called } = (await api.call('GET', `/agent/environments/${id}`)).body.config
  const change = { name: called, repos: [{ url: 'https://github.com/you/other', path: 'r0' }] }
  expect((await api.call('PUT', `/agent/environments/${id}`, change)).status).toBe(200)
  const skills = [{ path: `skills/${name}/SKILL.md`, text: text(name), files: [], problem: null }]
  const body = { repositories: [{ revision: 'a1', failure: null, skills }] }
  expect((await api.host('PUT', `/skill-readings/${reading}`, body)).status).toBe(200)
  expect((await api.call('GET', '/agent')).body.agents).toEqual([])
  const row = await api.db.selectFrom('skill_readings').select('failure').where('id', '=', reading).executeTakeFirst()
  expect(row?.failure).toContain('read again')
})

describe('a run', () => {
  const spec = 'you/app:.claude/skills/deploy/SKILL.md'
  let uid: string
  beforeEach(async () => {
    uid = await environment('https://github.com/you/app')
    await read(uid, {
      revision: 'a1',
      skills: [at('.claude/skills/deploy', text('deploy')), at('.claude/skills/lint', text('lint'))],
    })
  })

  test.each(['deploy', 'app:deploy', 'you/app:deploy', 'YOU/App:Deploy', 'app:.claude/skills/deploy', spec])(
    'works by the skill that is named %s, and needs no prompt then',
    async (skill) => {
      expect(await item({ skill })).toMatchObject({
        title: 'deploy',
        prompt: 'Do what your skill says.',
        agent_config: { name: 'deploy', skill_spec: spec, skills: [spec] },
        agent_skill: { name: 'deploy', description: 'For deploy.', full_path: spec, revision: 'a1' },
        skills: [{ name: 'deploy' }],
      })
    },
  )

  test('may have a prompt, a title and a name of its own, and further skills', async () => {
    const run = await item({
      prompt: 'To staging',
      title: 'Now',
      config: { name: 'mine', skills: ['lint', 'deploy', spec] },
    })
    expect(run).toMatchObject({ prompt: 'To staging', title: 'Now', agent_config: { name: 'mine' } })
    expect(run.skills.map(({ name }) => name)).toEqual(['lint', 'deploy'])
    expect(
      (await item({ prompt: 'x', skill: 'deploy', config: { skill_spec: 'lint' } })).skills.map(({ name }) => name),
    ).toEqual(['deploy'])
    expect((await start({ prompt: 'x', config: { skill_spec: 'deploy', skills: ['lint'] } })).status).toBe(400)
    expect((await start({ prompt: '', config: { skills: ['deploy'] } })).status).toBe(200)
    expect((await start({ config: { skills: [] } })).status).toBe(400)
  })

  test('keeps what its skill said when it began, whatever becomes of it', async () => {
    const files = [{ path: 'run.sh', executable: true, content: Buffer.from('echo 1\n').toString('base64') }]
    await read(uid, {
      revision: 'a2',
      skills: [{ ...at('.claude/skills/deploy', text('deploy', 'First.')), files }, at('skills/gone', text('gone'))],
    })
    const { run_id: runId } = await item({ skill: 'deploy' })
    await read(uid, { revision: 'a3', skills: [at('.claude/skills/deploy', text('deploy', 'Second.'))] })
    await api.hold(runId)
    const order = await api.host('GET', `/runs/${runId}/executions/1`)
    expect(order.body.skills).toMatchObject([{ name: 'deploy', revision: 'a2', url: 'https://github.com/you/app' }])
    const whole = await api.host('GET', `/runs/${runId}/skills?files=true`)
    expect(whole.body).toEqual({ skills: [{ text: text('deploy', 'First.'), files }] })
    expect((await api.host('GET', `/runs/${runId}/skills`)).body.skills).toEqual([
      { text: text('deploy', 'First.'), files: [] },
    ])
    expect((await item({ skill: 'deploy' })).agent_skill).toMatchObject({ revision: 'a3' })
    // What nobody has any more is gone.
    const kept = await api.db.selectFrom('skill_contents').select('text').execute()
    expect(kept.map((row) => row.text).filter((said) => said.includes('name: gone'))).toEqual([])
  })

  test.each([
    ['deplyo', 404, `skill: there is no skill "deplyo". Is ${spec} meant?`],
    ['nothing-like-it', 404, `There are ${spec}, you/app:.claude/skills/lint/SKILL.md.`],
    ['you/other:deploy', 404, 'no environment of the team has the repository you/other'],
    ['you/app:.claude/skills/none', 404, 'there is no skill "you/app:.claude/skills/none"'],
    [':deploy', 400, 'must be owner/repo:path'],
  ])('that names %s is refused, with what was meant', async (skill, status, words) => {
    const answer = await start({ skill })
    expect(answer).toMatchObject({ status })
    expect(answer.body.detail).toContain(words)
  })

  test('that names several at once is told which there are; those of its own environment come first', async () => {
    const other = await environment('https://github.com/me/app')
    await read(other, { revision: 'b1', skills: [at('skills/deploy', text('deploy', 'Otherwise.'))] })
    const answer = await start({ skill: 'deploy' })
    expect(answer.status).toBe(400)
    for (const one of [spec, 'me/app:skills/deploy/SKILL.md']) expect(answer.body.detail).toContain(one)
    const run = await item({ skill: 'deploy', config: { environment_id: other } })
    expect(run.agent_skill?.full_path).toBe('me/app:skills/deploy/SKILL.md')
  })

  test('that names one that cannot be used is told why; one that is yet to be read, to try again', async () => {
    await read(uid, { revision: 'a2', skills: [at('.claude/skills/deploy', '---\nname: deploy\n---\nText')] })
    expect((await start({ skill: 'deploy' })).body.detail).toContain('its head has no description')
    await environment('https://github.com/new/one')
    const early = await start({ skill: 'one:deploy' })
    expect(early).toMatchObject({ status: 503, body: { retryable: true } })
    expect(early.headers.get('retry-after')).toBe('2')
  })

  test('of a schedule or a service account has the skills of that', async () => {
    const { body: schedule } = await api.call('POST', '/agent/schedules', {
      name: unique('nightly'),
      cron_schedule: '0 9 * * 1',
      agent_config: { skill_spec: 'deploy' },
    })
    const { body: now } = await api.call('POST', `/agent/schedules/${schedule.id}/run`)
    const scheduled = (await api.call<RunItem>('GET', `/agent/runs/${now.run_id}`)).body
    expect(scheduled.agent_skill).toMatchObject({ full_path: spec })
    const skills = ['you/app:deploy']
    const { body: agent } = await api.call('POST', '/agent/identities', { name: unique('agent'), skills })
    expect(agent.skills).toEqual([spec])
    const unknown = { name: unique('agent'), skills: ['you/app:none'] }
    expect((await api.call('POST', '/agent/identities', unknown)).status).toBe(404)
    const run = await item({ prompt: 'Go', agent_identity_uid: agent.uid })
    expect(run).toMatchObject({ prompt: 'Go', agent_skill: { full_path: spec } })
    for (const field of ['skills', 'skill_spec', 'name'])
      expect(run.configuration?.sources[field]).toMatchObject({ type: 'service_account' })
  })

  test('that is forked has the skills of the other run, as that has them, unless it asks for others', async () => {
    const { run_id: runId } = await item({ skill: 'deploy', config: { skills: ['x', 'lint'] } })
    await api.hold(runId)
    const { id } = await api.db
      .insertInto('checkpoints')
      .values({ id: randomUUID(), run_id: runId, execution: 1, completed_at: new Date(), number: 1 })
      .returning('id')
      .executeTakeFirstOrThrow()
    await api.db.updateTable('runs').set({ checkpoints: 1 }).where('id', '=', runId).execute()
    expect(id).toBeTruthy()
    await read(uid, { revision: 'a9', skills: [at('.claude/skills/lint', text('lint', 'New.'))] })
    const fork = await item({ prompt: 'Again', fork_from: { run_id: runId } })
    expect(fork.skills.map(({ name, revision }) => [name, revision])).toEqual([
      ['deploy', 'a1'],
      ['lint', 'a1'],
    ])
    const other = await item({ prompt: 'Again', skill: 'lint', fork_from: { run_id: runId } })
    expect(other.skills.map(({ name, revision }) => [name, revision])).toEqual([['lint', 'a9']])
  })

  test('is found by its skill', async () => {
    const { run_id: runId } = await item({ skill: 'deploy', prompt: 'A task' })
    const found = async (query: string) =>
      (await api.call<{ runs: RunItem[] }>('GET', `/agent/runs?${query}`)).body.runs.map(({ run_id: id }) => id)
    for (const query of [`skill=${encodeURIComponent(spec)}`, 'skill_spec=app:deploy', 'skill=deploy', 'q=deploy'])
      expect(await found(query)).toContain(runId)
    expect(await found('skill=lint')).not.toContain(runId)
    expect(await found('skill=you/none:deploy')).toEqual([])
  })
})
