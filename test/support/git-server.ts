// Real git servers for tests: over http with a password, and over ssh with a key; with large files over http.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import { join, relative } from 'node:path'
import { freePort } from '../../workers/start/ports.ts'
import { type LfsServer, lfsServer } from './lfs-server.ts'

const identity = ['-c', 'user.name=T', '-c', 'user.email=t@localhost', '-c', 'init.defaultBranch=main']

/** Git as the person at the other end has it, with nothing of this machine's settings. */
export const personalGit = (cwd: string, ...args: string[]): string =>
  execFileSync('git', [...identity, '-c', 'safe.directory=*', ...args], {
    cwd,
    encoding: 'utf8',
    env: { PATH: process.env.PATH, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', HOME: cwd },
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim()

/** A bare repository `<root>/<name>` with one commit on main; people push to it by its path. */
export async function bareRepository(root: string, name: string, files: Record<string, string>): Promise<string> {
  const bare = join(root, name)
  const work = join(root, `.work-${name.replaceAll('/', '-')}`)
  await mkdir(bare, { recursive: true })
  personalGit(bare, 'init', '--quiet', '--bare', '.')
  personalGit(root, 'clone', '--quiet', bare, work)
  // So that both can be copied elsewhere together.
  personalGit(work, 'remote', 'set-url', 'origin', relative(work, bare))
  await commitFiles(work, files, 'first')
  return bare
}

/** Commits files in a person's clone, and pushes them. @returns the commit. */
export async function commitFiles(work: string, files: Record<string, string>, message: string): Promise<string> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(work, path, '..'), { recursive: true })
    await writeFile(join(work, path), content)
  }
  personalGit(work, 'add', '--all')
  personalGit(work, 'commit', '--quiet', '--message', message)
  personalGit(work, 'push', '--quiet', 'origin', 'HEAD')
  return personalGit(work, 'rev-parse', 'HEAD')
}

export const workOf = (root: string, name: string) => join(root, `.work-${name.replaceAll('/', '-')}`)

export interface HttpGitServer {
  /** `http://127.0.0.1:<port>` */
  url: string
  host: string
  /** Requests as they came: method, path, and the user that they were let in as. */
  requests: string[]
  /** The status that all requests are answered with for now; null: each as it deserves. */
  refuse: number | null
  /** Those of all repositories. */
  lfs: LfsServer
  stop(): Promise<void>
}

/**
 * Serves the repositories below `root`. Those whose path begins with `private`
 * want a user and password; all can be pushed to by a user that is known and no reader.
 * What is below `/api/` is for `api`, as on a forge.
 */
export async function httpGitServer(
  root: string,
  users: Record<string, string>,
  readers: readonly string[] = [],
  api?: RequestListener,
): Promise<HttpGitServer> {
  const requests: string[] = []
  const lfs = lfsServer(() => url)
  const server = createServer((request, response) => {
    if (api && request.url?.startsWith('/api/')) api(request, response)
    else void serve(request, response)
  })

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://server')
    const [user = '', password] = Buffer.from(request.headers.authorization?.replace('Basic ', '') ?? '', 'base64')
      .toString()
      .split(/:(.*)/s)
    const isKnown = password !== undefined && users[user] === password
    requests.push(`${request.method} ${url.pathname} ${isKnown ? user : '-'}`)
    if (served.refuse !== null) {
      response.writeHead(served.refuse).end()
      return
    }
    const isWriting = url.pathname.endsWith('/git-receive-pack') || url.search.includes('git-receive-pack')
    if (!isKnown && (url.pathname.startsWith('/private') || isWriting || password !== undefined)) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end()
      return
    }
    if (isWriting && readers.includes(user)) {
      response.writeHead(403).end('You may only read.')
      return
    }
    if (lfs.serve(request, response, isKnown && !readers.includes(user))) return
    serveGit(url, user, request, response)
  }

  function serveGit(url: URL, user: string, request: IncomingMessage, response: ServerResponse): void {
    const backend = spawn('git', ['http-backend'], {
      env: {
        PATH: process.env.PATH,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_PROJECT_ROOT: root,
        GIT_HTTP_EXPORT_ALL: '1',
        REQUEST_METHOD: request.method,
        PATH_INFO: url.pathname,
        QUERY_STRING: url.search.slice(1),
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
        ...(request.headers['git-protocol'] && { GIT_PROTOCOL: String(request.headers['git-protocol']) }),
        REMOTE_USER: user,
        REMOTE_ADDR: '127.0.0.1',
        GIT_CONFIG_COUNT: '2',
        GIT_CONFIG_KEY_0: 'safe.directory',
        GIT_CONFIG_VALUE_0: '*',
        GIT_CONFIG_KEY_1: 'http.receivepack',
        GIT_CONFIG_VALUE_1: 'true',
      },
    })
    request.pipe(backend.stdin)
    backend.stdin.on('error', () => {}) // It answers without reading all.
    let head: Buffer | null = Buffer.alloc(0)
    backend.stdout.on('data', (data: Buffer) => {
      if (head === null) {
        response.write(data)
        return
      }
      head = Buffer.concat([head, data])
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      const headers = head.subarray(0, end).toString().split('\r\n')
      for (const header of headers) {
        const [name = '', value = ''] = header.split(/: (.*)/s)
        if (name.toLowerCase() === 'status') response.statusCode = Number.parseInt(value, 10)
        else response.setHeader(name, value)
      }
      response.write(head.subarray(end + 4))
      head = null
    })
    backend.stdout.on('end', () => response.end())
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const url = `http://${host}`
  const served: HttpGitServer = {
    url,
    host,
    requests,
    refuse: null,
    lfs,
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return served
}

export interface SshGitServer {
  port: number
  /** `ssh://<user>@127.0.0.1:<port>`; a path of this machine follows. */
  url: string
  /** The private key that it lets in. */
  key: string
  /** Its own key, as a line of a known_hosts file. */
  knownHost: string
  stop(): Promise<void>
}

/** @param directory for its keys and settings. */
export async function sshGitServer(directory: string): Promise<SshGitServer> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const at = (name: string) => join(directory, name)
  for (const name of ['host_key', 'user_key']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', at(name)])
  }
  await writeFile(at('authorized_keys'), await readFile(at('user_key.pub')))
  await chmod(at('authorized_keys'), 0o600)
  const port = await freePort()
  await writeFile(
    at('sshd_config'),
    [
      `ListenAddress 127.0.0.1:${port}`,
      `HostKey ${at('host_key')}`,
      `AuthorizedKeysFile ${at('authorized_keys')}`,
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'StrictModes no',
      'UsePAM no',
      'PidFile none',
      'AcceptEnv GIT_PROTOCOL',
      'SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*',
    ].join('\n'),
  )
  // Its own programs want it, and Debian makes it when the service starts.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 })
  const sshd = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', at('sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] })
  await untilListening(sshd)
  const hostKey = (await readFile(at('host_key.pub'), 'utf8')).split(' ').slice(0, 2).join(' ')
  return {
    port,
    url: `ssh://${userInfo().username}@127.0.0.1:${port}`,
    key: at('user_key'),
    knownHost: `[127.0.0.1]:${port} ${hostKey}\n`,
    async stop() {
      if (sshd.exitCode !== null) return
      sshd.kill()
      await once(sshd, 'exit')
    },
  }
}

async function untilListening(sshd: ChildProcess): Promise<void> {
  let said = ''
  await new Promise<void>((resolve, reject) => {
    sshd.once('error', reject)
    sshd.once('exit', () => reject(new Error(`sshd: ${said}`)))
    sshd.stderr?.on('data', (data) => {
      said += String(data)
      if (said.includes('Server listening')) resolve()
    })
  })
}
