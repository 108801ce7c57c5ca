import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { ambient } from '../testing/command.ts'
import { MESSAGE, startTestServer } from '../testing/server.ts'
import { git, workOn } from '../testing/work.ts'

test('the demo goes from a repository to a branch and a second message, and says that it is one', async () => {
  const server = await startTestServer()
  const directory = mkdtempSync(join(tmpdir(), 'ambient-demo-test-'))
  let url = ''
  server.onStart = (body) => {
    url = (body as { environment: { repos: { url: string }[] } }).environment.repos[0]?.url ?? ''
    const work = workOn(url, directory, 'AMBIENT_DEMO.md', 'A small greeter.\n')
    const run = server.run({ demo: true })
    run.result = [work.result]
    run.bundles.set('home', work.bundle)
    run.add('message', { text: 'I wrote AMBIENT_DEMO.md.' })
    run.state('SUCCEEDED')
    return run
  }
  server.onPost = (run) => {
    run.state('INPROGRESS')
    run.add('prompt', { message_id: MESSAGE, text: 'What next?' })
    run.add('message', { text: 'I would add a test.' })
    run.state('SUCCEEDED')
  }
  try {
    const { code, stdout, stderr } = await ambient(['demo'], { url: server.url })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const said of [
      ...['1/5', '2/5', '3/5', '4/5', '5/5', 'No model key is set', 'I wrote AMBIENT_DEMO.md.', '+A small greeter.'],
      ...['branch ambient-demo', 'I would add a test.', 'ANTHROPIC_API_KEY'],
    ]) {
      expect(stdout).toContain(said)
    }
    expect(git(fileURLToPath(url), 'show', 'ambient-demo:AMBIENT_DEMO.md')).toBe('A small greeter.')
  } finally {
    rmSync(directory, { recursive: true, force: true })
    if (url) rmSync(fileURLToPath(url), { recursive: true, force: true })
    await server.stop()
  }
})
