import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { processStat } from '../processes.ts'
import { createLauncher } from './launcher.ts'

const PATH = '/usr/bin:/bin'
let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-launcher-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const sh = (script: string, ...args: string[]) => ({ command: ['/bin/sh', '-c', script, 'sh', ...args], env: { PATH } })
const inDirectory = (name: string) => join(directory, name)
const content = (name: string) => readFile(inDirectory(name), 'utf8')
const numberIn = async (name: string) => Number(await content(name))
/** Says whose child it is. */
const TELL_PARENT = 'echo $PPID >"$1"'

test('a program has the streams and the variables it is given, and a session of its own', async () => {
  await using stdin = await open(inDirectory('stdin'), 'wx+')
  await stdin.writeFile('asked\n')
  await using output = await open(inDirectory('output'), 'ax')
  await output.writeFile('before\n')
  const append = { file: output, flags: constants.O_WRONLY | constants.O_APPEND }
  const script = 'cat; env; echo aside >&2; ps -o sid= -p $$; echo $$'
  await createLauncher().launch({
    ...sh(script),
    env: { PATH, ONE: 'with spaces\nand lines' },
    stdio: [{ file: stdin, flags: constants.O_RDONLY }, append, append],
  })
  const [before, asked, ...said] = (await content('output')).trimEnd().split('\n')
  expect([before, asked]).toEqual(['before', 'asked'])
  const [session, own] = said.splice(-2).map(Number)
  expect(session).toBe(own)
  // The shell's own.
  const variables = said.filter((line) => !/^(PWD|OLDPWD|SHLVL|_)=/.test(line))
  expect(variables.toSorted()).toEqual(['ONE=with spaces', `PATH=${PATH}`, 'aside', 'and lines'].toSorted())
})

test('a start is over when the program says so, and the program goes on', async () => {
  await createLauncher().launch(sh('echo $$ >"$1"; exec 3>&-; exec sleep 60', inDirectory('pid')))
  const pid = await numberIn('pid')
  expect(processStat(pid)?.state).toMatch(/[RS]/)
  process.kill(pid, 'SIGKILL')
})

test('a program that is not there is told of', async () => {
  await expect(createLauncher().launch({ command: ['/no/such/program'], env: {} })).rejects.toThrow('ENOENT')
})

test('a start that its launcher did not outlive is told of, and another launcher does the next', async () => {
  const launcher = createLauncher()
  await launcher.launch(sh(TELL_PARENT, inDirectory('first')))
  const hanging = launcher.launch(sh('echo $$ >"$1"; exec sleep 60', inDirectory('hanging')))
  const told = expect(hanging).rejects.toThrow('has ended (SIGKILL)')
  await expect.poll(() => numberIn('hanging').catch(() => 0)).toBeGreaterThan(0)
  const first = await numberIn('first')
  process.kill(first, 'SIGKILL')
  await told
  process.kill(await numberIn('hanging'), 'SIGKILL')
  await launcher.launch(sh(TELL_PARENT, inDirectory('second')))
  expect(await numberIn('second')).not.toBe(first)
})

test('a start that does not end fails alone', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const launcher = createLauncher()
  const hanging = launcher.launch(sh('echo $$ >"$1"; exec sleep 60', inDirectory('hanging')))
  const told = expect(hanging).rejects.toThrow('was not up within')
  // The answers come in their order: that one's streams are its own by now.
  await launcher.launch(sh(TELL_PARENT, inDirectory('first')))
  await vi.advanceTimersByTimeAsync(10_000)
  await told
  vi.useRealTimers()
  await launcher.launch(sh(TELL_PARENT, inDirectory('second')))
  expect(await numberIn('second')).toBe(await numberIn('first'))
  // Its own first word may take longer than the clock that was set forward.
  await expect.poll(() => numberIn('hanging').catch(() => 0)).toBeGreaterThan(0)
  process.kill(await numberIn('hanging'), 'SIGKILL')
})

test('it ends with its host, however that ends, and what it has started goes on', async () => {
  const program = `
    const { createLauncher } = await import(${JSON.stringify(new URL('launcher.ts', import.meta.url).href)})
    const launcher = createLauncher()
    const start = (script) => launcher.launch({ command: ['/bin/sh', '-c', script, 'sh', process.argv[1]], env: { PATH: '${PATH}' } })
    void start('echo $$ >"$1/hanging"; exec sleep 60')
    await start('echo $PPID >"$1/launcher"; echo $$ >"$1/pid"; exec 3>&-; exec sleep 60')
    console.log('started')`
  const host = spawn(process.execPath, ['--input-type=module', '--eval', program, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise((resolve) => host.stdout.once('data', resolve))
  const [launcher, pid] = [await numberIn('launcher'), await numberIn('pid')]
  await expect.poll(() => numberIn('hanging').catch(() => 0)).toBeGreaterThan(0)
  expect(processStat(launcher)?.parent).toBe(host.pid)
  host.kill('SIGKILL')
  await expect.poll(() => processStat(launcher)?.state ?? 'Z').toBe('Z')
  for (const started of [pid, await numberIn('hanging')]) {
    expect(processStat(started)?.state).toMatch(/[RS]/)
    process.kill(started, 'SIGKILL')
  }
})
