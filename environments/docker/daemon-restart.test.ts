import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const run = promisify(execFile)

describe('when the Docker daemon is restarted', () => {
  let directory: string
  const image = () => join(directory, 'image.tar')

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ambient-daemon-'))
    await run('docker', ['save', '--output', image(), 'ambient-base:latest'])
  })
  afterAll(async () => {
    await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  })

  async function restarted(how: 'live' | 'plain') {
    const own = await mkdtemp(join(directory, `${how}-`))
    const fixture = join(import.meta.dirname, 'daemon-restart.fixture.ts')
    // Mounts of its own as well: with live-restore a daemon leaves them.
    const { stdout } = await run('unshare', ['--net', '--mount', process.execPath, fixture, own, image(), how]).catch(
      async (error: unknown) => {
        const log = await readFile(join(own, 'dockerd.log'), 'utf8').catch(() => '')
        throw new Error(`the fixture failed: ${log.slice(-4_000)}`, { cause: error })
      },
    )
    return JSON.parse(stdout)
  }

  test('with live-restore, agents and jobs go on, can be written to, and are read to their end', async () => {
    const { atOnce, said, atLast, left } = await restarted('live')
    const callsFrom = { kind: 'address', address: expect.stringMatching(/^\d/) }
    expect(atOnce).toEqual({ job: null, agent: null, running: true, joined: true, callsFrom })
    expect(said).toEqual(['begun', 'ended', 'got before', 'got after'])
    expect(atLast).toEqual({ code: 5, outOfMemory: false })
    expect(left).toEqual([])
  })

  test('without it they are lost with their sandbox, and said to be', async () => {
    const { atOnce, atLast, left } = await restarted('plain')
    expect(atOnce).toMatchObject({ agent: { lost: true }, running: false, joined: true })
    expect(atLast).toEqual({ code: 137, outOfMemory: false })
    expect(left).toEqual([])
  })
})
