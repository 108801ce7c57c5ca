import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { chmod, copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Repository } from '../../domain/run.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import {
  bareRepository,
  type HttpGitServer,
  httpGitServer,
  personalGit,
  type SshGitServer,
  sshGitServer,
} from '../../test/support/git-server.ts'
import { createRunDirectory, type Owner, type RunPaths } from '../run-directory.ts'
import type { GitAccess, GitAccessSettings } from './access.ts'
import { cloneRepositories } from './repositories.ts'

const owner: Owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
const TOKEN = 'a-very-secret-token'

let directory: string
let root: string
let http: HttpGitServer
let ssh: SshGitServer
let own: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-private-'))
  root = join(directory, 'served')
  await bareRepository(root, 'private/team/app.git', { file: 'private\n' })
  await bareRepository(root, 'private/other/app.git', { file: 'private\n' })
  http = await httpGitServer(root, { robot: TOKEN, other: 'other-token' })
  ssh = await sshGitServer(join(directory, 'ssh'))
})
afterAll(async () => {
  await http?.stop()
  await ssh?.stop()
  await rm(directory, { recursive: true, force: true })
})
beforeEach(async () => {
  own = await mkdtemp(join(directory, 'host-'))
  http.requests.length = 0
})

const hostWith = (settings: Partial<GitAccessSettings>): Promise<GitAccess> => testGitAccess(own, settings)

async function clone(repository: Repository, access: GitAccess): Promise<{ paths: RunPaths; lines: string[] }> {
  const paths = await createRunDirectory(join(own, 'runs'), randomUUID(), owner)
  const lines: string[] = []
  await cloneRepositories({
    repositories: [{ path: 'app', ...repository }],
    paths,
    owner,
    access,
    team: 'default',
    signal: AbortSignal.timeout(60_000),
    onProgress: (line) => lines.push(line),
  })
  return { paths, lines }
}

async function credentialsFile(...lines: string[]): Promise<string> {
  const file = join(own, 'credentials')
  await writeFile(file, `# tokens of this host\n\n${lines.join('\n')}\n`, { mode: 0o600 })
  return file
}

const content = ({ paths }: { paths: RunPaths }) => readFile(join(paths.workspace, 'app/file'), 'utf8')

test('a private repository opens with a token in its URL', async () => {
  const made = await clone({ url: `http://robot:${TOKEN}@${http.host}/private/team/app.git` }, await hostWith({}))
  expect(await content(made)).toBe('private\n')
})

test("a private repository opens with a line of the host's credentials, the longest path first", async () => {
  const credentials = await credentialsFile(
    `http://other:other-token@${http.host}/private/te`,
    `http://other:other-token@${http.host}/private`,
    `http://robot:${TOKEN}@${http.host}/private/team`,
    `https://nobody:wrong@${http.host}/private/team/app`,
  )
  const access = await hostWith({ credentials })
  await clone({ url: `${http.url}/private/team/app.git` }, access)
  expect(new Set(http.requests.map((line) => line.split(' ')[2]))).toEqual(new Set(['-', 'robot']))
  http.requests.length = 0
  await clone({ url: `${http.url}/private/other/app.git` }, access)
  expect(new Set(http.requests.map((line) => line.split(' ')[2]))).toEqual(new Set(['-', 'other']))
})

test("no credential is in the workspace, the mirror, the transcript or any program's arguments", async () => {
  const credentials = await credentialsFile(`http://robot:${TOKEN}@${http.host}`)
  const seen: string[] = []
  const watch = setInterval(() => {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        seen.push(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
      } catch {
        // It has ended.
      }
    }
  }, 10)
  const fromFile = await clone({ url: `${http.url}/private/team/app.git` }, await hostWith({ credentials }))
  const fromUrl = await clone(
    { url: `http://robot:${TOKEN}@${http.host}/private/other/app.git`, depth: 1 },
    await hostWith({}),
  ).finally(() => clearInterval(watch))
  expect(seen.join('\n')).toContain('ls-remote')
  expect(seen.join('\n')).not.toContain(TOKEN)
  await rm(credentials)
  const { stdout } = await execa({ reject: false })('grep', ['-rl', TOKEN, own])
  expect(stdout).toBe('')
  for (const { lines } of [fromFile, fromUrl]) expect(lines.join('\n')).not.toContain(TOKEN)
})

test('a token that is refused, and none at all, fail with what to do', async () => {
  for (const url of [`http://robot:wrong@${http.host}/private/team/app.git`, `${http.url}/private/team/app.git`]) {
    await expect(clone({ url }, await hostWith({}))).rejects.toMatchObject({
      failure: {
        code: 'repository_unreachable',
        message: `The repository ${http.url}/private/team/app.git could not be cloned: access to it was denied.`,
        nextStep: expect.stringContaining('AMBIENT_GIT_CREDENTIALS'),
      },
    })
  }
  await expect(
    clone({ url: `http://robot:${TOKEN}@${http.host}/private/team/nothing.git` }, await hostWith({})),
  ).rejects.toMatchObject({
    failure: { message: expect.stringContaining('it is not there, or the host may not see it') },
  })
})

test("a file of credentials that is not there is the host's fault, and says so", async () => {
  const access = await hostWith({ credentials: join(own, 'nowhere') })
  await expect(clone({ url: `${http.url}/private/team/app.git` }, access)).rejects.toMatchObject({
    failure: { code: 'internal_error', message: 'The file of AMBIENT_GIT_CREDENTIALS is not there.' },
  })
})

test('a mirror that one token has filled is not opened by another that is refused', async () => {
  const access = await hostWith({})
  await clone({ url: `http://robot:${TOKEN}@${http.host}/private/team/app.git` }, access)
  expect(await readdir(access.mirrors ?? '')).toHaveLength(1)
  await expect(clone({ url: `http://robot:revoked@${http.host}/private/team/app.git` }, access)).rejects.toMatchObject({
    failure: { code: 'repository_unreachable' },
  })
  await expect(clone({ url: `${http.url}/private/team/app.git` }, access)).rejects.toThrow()
})

const sshUrl = () => `${ssh.url}${join(root, 'private/team/app.git')}`

test('a private repository opens over ssh with the key of the host', async () => {
  const knownHosts = join(own, 'known')
  await writeFile(knownHosts, ssh.knownHost)
  const made = await clone({ url: sshUrl() }, await hostWith({ sshKey: ssh.key, knownHosts }))
  expect(await content(made)).toBe('private\n')
  expect(personalGit(join(made.paths.workspace, 'app'), 'remote', 'get-url', 'origin')).toBe(sshUrl())
})

test('the key that a server shows first is kept, and another one later is refused', async () => {
  const access = await hostWith({ sshKey: ssh.key })
  await clone({ url: sshUrl() }, access)
  // Where the machine's ssh hides the names, the key is there all the same.
  expect(await readFile(access.knownHosts, 'utf8')).toContain(ssh.knownHost.trim().split(' ')[2])
  const { stdout: other } = await execa('ssh-keygen', ['-y', '-f', ssh.key])
  const [type, key] = other.split(' ')
  await writeFile(access.knownHosts, `[127.0.0.1]:${ssh.port} ${type} ${key}\n`)
  await expect(clone({ url: sshUrl() }, access)).rejects.toMatchObject({
    failure: {
      code: 'repository_unreachable',
      message: expect.stringContaining('its server shows another ssh key than the one that is known for it'),
      nextStep: expect.stringContaining(access.knownHosts),
    },
  })
})

test('with a list of known servers, one that is not on it is not believed', async () => {
  const knownHosts = join(own, 'known')
  await writeFile(knownHosts, '')
  await expect(clone({ url: sshUrl() }, await hostWith({ sshKey: ssh.key, knownHosts }))).rejects.toMatchObject({
    failure: {
      message: expect.stringContaining('the ssh key of its server is not known to the host'),
      nextStep: expect.stringContaining(knownHosts),
    },
  })
})

test('a key that the server does not know, one that others can read, and a repository that is not there are told apart', async () => {
  const stranger = join(own, 'stranger')
  await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', stranger])
  await expect(clone({ url: sshUrl() }, await hostWith({ sshKey: stranger }))).rejects.toMatchObject({
    failure: {
      message: expect.stringContaining('access to it was denied'),
      nextStep: expect.stringContaining('AMBIENT_GIT_SSH_KEY'),
    },
  })
  const open = join(own, 'open')
  await copyFile(ssh.key, open)
  await chmod(open, 0o644)
  await expect(clone({ url: sshUrl() }, await hostWith({ sshKey: open }))).rejects.toMatchObject({
    failure: {
      message: expect.stringContaining("the host's ssh key cannot be used"),
      nextStep: expect.stringContaining('chmod 600'),
    },
  })
  await expect(
    clone({ url: `${ssh.url}${join(root, 'nothing.git')}` }, await hostWith({ sshKey: ssh.key })),
  ).rejects.toMatchObject({ failure: { message: expect.stringContaining('it is not there') } })
})
