// The official SDKs as they come from their registries, against a real server: pointed at it by base URL and key alone.
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { execa } from 'execa'
import OzAPI from 'oz-agent-sdk'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { root } from '../../config.ts'
import type { TestApi } from '../support/api.ts'
import { startApiWithTemporal } from '../support/api-with-temporal.ts'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import { pythonWithSdk } from '../support/python-sdk.ts'
import { givenSkills } from '../support/skills.ts'

let api: TestApi
let oz: OzAPI
beforeAll(async () => {
  api = await startApiWithTemporal()
  oz = new OzAPI({ apiKey: api.key, baseURL: `${api.url}/api/v1` })
})
afterAll(() => api.close())

const unique = (words: string) => `${words} ${randomUUID()}`

/** An environment of a repository that has a skill. @returns its uid */
async function skilled(repo: string, name: string): Promise<string> {
  const config = { name: unique('skilled'), repos: [{ url: `https://github.com/${repo}` }] }
  const { uid } = await oz.post<{ uid: string }>('/agent/environments', { body: config })
  await givenSkills(api, uid, { revision: 'c0ffee', skills: [[`.agents/skills/${name}/SKILL.md`, name]] })
  return uid
}

describe('the official TypeScript SDK', () => {
  test('starts, reads, lists and cancels a run', async () => {
    const name = unique('typescript')
    const started = await oz.agent.run({ prompt: 'By the book', title: 'Book', config: { name } })
    expect(started).toMatchObject({ state: 'QUEUED', task_id: started.run_id })
    const { runs, page_info: page } = await oz.agent.runs.list({ name, state: ['QUEUED', 'PENDING'], limit: 5 })
    expect(page.has_next_page).toBe(false)
    expect(runs.map((run) => [run.run_id, run.title, run.prompt])).toEqual([[started.run_id, 'Book', 'By the book']])
    expect(await oz.agent.runs.retrieve(started.run_id)).toMatchObject({ state: 'QUEUED', agent_config: { name } })
    expect(await oz.agent.runs.cancel(started.run_id)).toBe(started.run_id)
  })

  test('is pointed at a server by two variables of the environment', async () => {
    const script = `
    import OzAPI from 'oz-agent-sdk'
    const { runs } = await new OzAPI().agent.runs.list({ limit: 1 })
    console.log(runs.length)`
    const { stdout } = await execa(process.execPath, ['--input-type=module', '--eval', script], {
      cwd: root,
      extendEnv: false,
      env: { OZ_API_BASE_URL: `${api.url}/api/v1`, WARP_API_KEY: api.key },
    })
    expect(stdout).toBe('1')
  })

  test('gets each page of a list by the cursor of the one before, while runs are started', async () => {
    const name = unique('pages')
    const start = async (prompt: string) => (await oz.agent.run({ prompt, config: { name } })).run_id
    const started = [await start('1'), await start('2'), await start('3')]
    const seen: string[] = []
    for (let cursor: string | undefined, more = true; more; ) {
      const { runs, page_info: page } = await oz.agent.runs.list({ name, limit: 2, ...(cursor && { cursor }) })
      // The newest first: it comes before what was read.
      if (seen.length === 0) await start('later')
      seen.push(...runs.map((run) => run.run_id))
      cursor = page.next_cursor
      more = page.has_next_page
    }
    expect(seen.toSorted()).toEqual(started.toSorted())
  })

  test('throws the class of each error', async () => {
    await expect(oz.agent.runs.retrieve(randomUUID())).rejects.toMatchObject({
      constructor: OzAPI.NotFoundError,
      status: 404,
      error: { status: 404, retryable: false },
    })
    await expect(oz.agent.runs.retrieve('a/b c')).rejects.toBeInstanceOf(OzAPI.NotFoundError)
    await expect(oz.agent.run({ prompt: '' })).rejects.toBeInstanceOf(OzAPI.BadRequestError)
    const stranger = new OzAPI({ apiKey: 'wk-wrong', baseURL: `${api.url}/api/v1` })
    await expect(stranger.agent.runs.list()).rejects.toBeInstanceOf(OzAPI.AuthenticationError)
    await oz.post('/agent/environments', { body: { name: 'taken' } })
    let tries = 0
    const counted: typeof fetch = (...request) => {
      tries += 1
      return fetch(...request)
    }
    const counting = new OzAPI({ apiKey: api.key, baseURL: `${api.url}/api/v1`, fetch: counted })
    await expect(counting.post('/agent/environments', { body: { name: 'taken' } })).rejects.toBeInstanceOf(
      OzAPI.ConflictError,
    )
    // It was told that another try does no better.
    expect(tries).toBe(1)
  })

  test('lists skills, and starts a run with one', async () => {
    const repo = `you/skilled-${randomUUID()}`
    const uid = await skilled(repo, 'deploy')
    const { agents } = await oz.agent.list({ repo, sort_by: 'last_run', include_malformed_skills: true } as never)
    const id = `${repo}:.agents/skills/deploy/SKILL.md`
    expect(agents).toMatchObject([
      {
        name: 'deploy',
        variants: [{ id, description: 'For deploy.', environments: [{ uid }], source: { owner: 'you' } }],
      },
    ])
    const { run_id: runId } = await oz.agent.run({ skill: id })
    const skill = { name: 'deploy', full_path: id }
    expect(await oz.agent.runs.retrieve(runId)).toMatchObject({ title: 'deploy', agent_skill: skill })
    const { runs } = await oz.agent.runs.list({ skill: id } as never)
    expect(runs.map((run) => run.run_id)).toEqual([runId])
  })

  test('makes, changes, pauses and deletes a schedule', async () => {
    const made = await oz.agent.schedules.create({
      name: unique('nightly'),
      cron_schedule: '0 9 * * 1',
      prompt: 'Look',
      agent_config: { name: 'nightly' },
    })
    expect(made).toMatchObject({ enabled: true, prompt: 'Look', agent_config: { name: 'nightly' } })
    expect(await oz.agent.schedules.retrieve(made.id)).toMatchObject({ cron_schedule: '0 9 * * 1' })
    expect((await oz.agent.schedules.list()).schedules.map(({ id }) => id)).toContain(made.id)
    expect(await oz.agent.schedules.pause(made.id)).toMatchObject({ enabled: false })
    expect(await oz.agent.schedules.resume(made.id)).toMatchObject({ enabled: true })
    const change = { name: unique('renamed'), cron_schedule: '30 8 * * *', enabled: false, prompt: 'Look again' }
    expect(await oz.agent.schedules.update(made.id, change)).toMatchObject(change)
    expect(await oz.agent.schedules.delete(made.id)).toMatchObject({ success: true })
    await expect(oz.agent.schedules.retrieve(made.id)).rejects.toBeInstanceOf(OzAPI.NotFoundError)
  })
})

const python = pythonWithSdk()
const claims = [
  'starts, reads, lists, goes on with and cancels a run',
  'serves agents that Oz has no word for in words that it has',
  'pages through all runs, each once, while others are started',
  'filters by metadata and by times, whatever has to be encoded',
  'raises the class of each error',
  'sends a POST again whose answer was lost, and one run is started',
  'names the team by a header of the environment',
  'lists skills and environments',
  'makes, changes, pauses and deletes a schedule',
  'makes, changes and deletes an agent identity',
  'looks redirects up without a key',
  'gives a run files, and reads artifacts and handoff attachments',
  'does the same without blocking',
  'reads every run that there is',
]

const Outcome = z.object({ claim: z.string(), error: z.string().nullable() })

describe.skipIf(python === null).each(['plain', 'strict'])('the official Python SDK, %s', (mode) => {
  let outcomes: z.infer<typeof Outcome>[]
  beforeAll(async () => {
    const repo = `you/skilled-${mode}`
    await skilled(repo, 'greet')
    const proxy = await startCuttingProxy(api.url, (connection) => (connection <= 2 ? 'answer' : 'nothing'))
    const { stdout } = await execa(python ?? '', [join(root, 'test', 'sdk', 'drive.py'), mode], {
      extendEnv: false,
      env: {
        OZ_API_BASE_URL: `${api.url}/api/v1/`,
        WARP_API_KEY: api.key,
        OZ_API_CUSTOM_HEADERS: 'X-Warp-Team-Uid: default',
        CUTTING_BASE_URL: `${proxy.url}/api/v1`,
        SKILLED_REPO: repo,
      },
    })
    proxy.close()
    outcomes = stdout.split('\n').map((line) => Outcome.parse(JSON.parse(line)))
    expect(outcomes.map(({ claim }) => claim)).toEqual(claims)
  })

  test.each(claims)('%s', (claim) => {
    expect(outcomes.find((outcome) => outcome.claim === claim)?.error).toBeNull()
  })
})
