// The `ambient` command on a whole Ambient, from a repository to a branch in it.
import { readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ambient, command } from '../../cli/testing/command.ts'
import { root } from '../../config.ts'
import { examplesIn } from '../support/examples.ts'
import { leftovers } from '../support/leftovers.ts'
import { pythonWithSdk } from '../support/python-sdk.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import { type Stack, startStack } from '../support/stack.ts'

const python = pythonWithSdk()

describe('the command line', () => {
  let stack: Stack
  let repository: SampleRepository

  beforeAll(async () => {
    repository = await sampleRepository()
    stack = await startStack({ host: 'direct', withoutModel: true, env: { AMBIENT_IDLE_MINUTES: '0' } })
  })

  afterAll(async () => {
    await stack?.stop()
    await repository?.remove()
  })

  // As on the server's own machine: the key comes from the data directory.
  const here = () => ({ url: stack.url, cwd: repository.path, env: { AMBIENT_API_KEY: '', AMBIENT_DATA: stack.data } })

  test('the demo runs to its end without a model key', async () => {
    const { code, stdout, stderr } = await ambient(['demo'], here())
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('AMBIENT_DEMO.md')
    const [, made] = /branch ambient-demo in (\S+)/.exec(stdout) ?? []
    expect(made).toBeDefined()
    await rm(made as string, { recursive: true })
  })

  test('follows a run through the death of the server, and brings its work home', async () => {
    const go = join(stack.data, 'go')
    const script = `echo one; until [ -e ${go} ]; do sleep 0.1; done; echo two; echo made > made.txt`
    const running = command(
      ['run', '--repo', '.', '--agent', 'command', '--branch', 'made-by-a-run', '--', 'sh', '-c', script],
      here(),
    )
    await running.output(/^one$/m)
    await stack.kill('server')
    await writeFile(go, '')
    const { code, stdout, stderr } = await running.finished
    expect(code).toBe(0)
    expect(stderr).toContain('(connected again)')
    expect(stdout.match(/^(one|two)$/gm)).toEqual(['one', 'two'])
    expect(await repository.git('show', 'made-by-a-run:made.txt')).toBe('made')
    expect(await repository.git('status', '--porcelain', '--branch')).toBe('## main')
  })

  test('ends with 1 when the work failed, and with 4 when it was cancelled', async () => {
    const failed = await ambient(['run', '--follow', '--agent', 'command', '--', 'sh', '-c', 'exit 7'], here())
    expect(failed.code).toBe(1)
    expect(failed.stdout).toContain('command_failed')

    const running = command(['run', '--follow', '--agent', 'command', '--', 'sleep', '600'], here())
    await running.output(/the agent works/)
    const [run] = JSON.parse((await ambient(['runs', '--limit', '1', '--json'], here())).stdout).runs
    expect((await ambient(['cancel', run.run_id.slice(0, 8)], here())).code).toBe(0)
    expect((await running.finished).code).toBe(4)
  })

  describe('the API guide', () => {
    const guide = readFileSync(join(root, 'docs', 'api.md'), 'utf8')
    const pointed = () => ({
      cwd: root,
      extendEnv: false,
      timeout: 120_000,
      env: { OZ_API_BASE_URL: `${stack.url}/api/v1`, WARP_API_KEY: stack.key },
    })

    test('has examples in TypeScript that run as they are', async () => {
      const typescript = ['--input-type=module-typescript', '--eval', examplesIn(guide, 'ts')]
      const { stdout } = await execa(process.execPath, typescript, pointed())
      expect(stdout).toMatch(/^\d+ message$/m)
      expect(stdout).toMatch(/^SUCCEEDED/m)
      expect(stdout).toContain('must not be empty')
      expect(stdout).toMatch(/^true$/m)
    })

    test.skipIf(python === null)('has examples in Python that run as they are', async () => {
      const { stdout } = await execa(python ?? '', ['-c', examplesIn(guide, 'python')], pointed())
      expect(stdout).toMatch(/^\d+ message$/m)
      expect(stdout).toMatch(/^SUCCEEDED/m)
      expect(stdout).toMatch(/^README [A-Z]+$/m)
      expect(stdout).toContain('must not be empty')
      expect(stdout).toMatch(/^True$/m)
    })
  })

  test('leaves no process of these runs behind', async () => {
    const { body } = await stack.call<{ runs: { run_id: string }[] }>('GET', '/api/v1/agent/runs')
    expect(body.runs.length).toBeGreaterThan(3)
    for (const { run_id } of body.runs) await expect.poll(() => leftovers(run_id)).toEqual([])
  })
})
