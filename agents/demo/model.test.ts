import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ask, modelClients, post, type Said, type Turn } from '../../test/support/model-server-clients.ts'
import { demoFile, startDemoModel } from './model.ts'

const run = promisify(execFile)

let demo: Awaited<ReturnType<typeof startDemoModel>>
beforeAll(async () => {
  demo = await startDemoModel()
})
afterAll(() => demo.close())

const clients = modelClients.map((client) => [client.format, client] as const)

// At once: a demo spends its seconds waiting between its words.
describe.concurrent.each(clients)('%s', (_format, client) => {
  test('plays a whole conversation: looks, writes its file into the repository, says that it was a demo', async ({
    onTestFinished,
  }) => {
    const workspace = await mkdtemp(join(tmpdir(), 'ambient-demo-'))
    onTestFinished(() => rm(workspace, { recursive: true }))
    const repository = join(workspace, 'project')
    await mkdir(repository)
    await run('git', ['init', '--quiet', repository])
    const task = 'Mend the "flaky" $HOME `test`;\nisn\'t it easy?'

    const bash: Tool = async (args) => (await run('bash', ['-c', commandOf(args)], { cwd: workspace })).stdout
    const turns: Turn[] = [{ user: task }]
    const said = await converse(turns, bash)

    expect(said.map(({ calls }) => calls.length)).toEqual([1, 1, 0])
    expect(said[0]?.text).toContain('I am the demo model of Ambient: no model key is set')
    expect(said[2]?.text).toContain(`wrote ${demoFile}`)
    expect(said[2]?.text).toContain('This was a scripted demo: no model key is set')
    expect(await readdir(workspace)).toEqual(['project'])
    expect(await readFile(join(repository, demoFile), 'utf8')).toBe(
      '# A demo of Ambient\n\n' +
        'The task was: Mend the "flaky" $HOME `test`; isn\'t it easy?\n\n' +
        'A script wrote this, not a model.\n',
    )

    turns.push({ user: 'And the docs?' })
    const [answer, ...more] = await converse(turns, bash)
    expect(answer?.text).toContain('I got your message: “And the docs?”. I am still the demo model')
    expect([answer?.calls, more]).toEqual([[], []])
  })

  test('says that nothing was written when its command is refused', async () => {
    const turns: Turn[] = [{ user: 'Do it.' }]
    const said = await converse(turns, async () => 'The person refused to run this.')
    expect(said.at(-1)?.text).toContain(`I could not write ${demoFile}`)
  })

  test('without a tool it only talks', async () => {
    const question = { stream: false, turns: [{ user: 'Do it.' }], shell: null }
    const said = await ask(client, demo.url, question)
    expect(said).toMatchObject({ text: expect.stringContaining('offers me no tool that runs a command'), calls: [] })
  })

  test('its words arrive one after the other', async () => {
    const response = await post(client, demo.url, { stream: true, turns: [{ user: 'Do it.' }], shell: 'bash' })
    let chunks = 0
    for await (const chunk of response.body ?? []) chunks += chunk.length > 0 ? 1 : 0
    expect(chunks).toBeGreaterThan(5)
  })

  /** Does what an agent does, until the model has no more calls. */
  async function converse(turns: Turn[], tool: Tool): Promise<Said[]> {
    const all: Said[] = []
    for (;;) {
      const said = await ask(client, demo.url, { stream: true, turns, shell: 'bash' })
      all.push(said)
      turns.push({ said, results: await Promise.all(said.calls.map((call) => tool(call.arguments))) })
      if (said.calls.length === 0) return all
    }
  }
})

type Tool = (args: unknown) => Promise<string>

const commandOf = (args: unknown) => (args as { command: string }).command
