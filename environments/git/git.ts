// Runs the host's git, away from people, terminals and this process's environment.
import { spawn } from 'node:child_process'
import type { FileHandle } from 'node:fs/promises'
import { homedir, totalmem } from 'node:os'
import { join } from 'node:path'

export interface GitResult {
  code: number
  stdout: string
  /** The end of what it said; progress that was overwritten is left out. */
  stderr: string
}

export interface GitOptions {
  cwd: string
  /** A file that stands for the user's git configuration, see {@link globalConfig}. */
  config: string
  /** For the credential helper; never on a command line, where every process of the machine sees it. */
  credentials: Credentials | null
  /** An address that another one is reached by: repositories go by their own names, also where the git broker has them. */
  instead?: { of: string; by: string } | undefined
  /** The command that stands for ssh. */
  ssh: string
  signal: AbortSignal
  onLine?: ((line: string) => void) | undefined
  /** Held by git as well, so that it is free only when both we and git are done, or dead. */
  lock?: FileHandle
  /** Most characters of its output that are kept; more is an error. */
  maxOutput?: number
  /** Written to its stdin. */
  input?: string
  /** How its output is read; absent: as UTF-8. `latin1` has a character for each byte. */
  encoding?: 'latin1'
  /** Largest file that it may write, in bytes. */
  fileBytes?: number | undefined
}

export interface Credentials {
  username: string
  password: string
  /** The only ones that they are told: `https` or `http`, and a name with its port. */
  protocol: string
  host: string
}

/** Text of the file that stands for the user's configuration: theirs, and what clones by a service need besides. */
export const globalConfig = () => `[include]
	path = ${JSON.stringify(join(homedir(), '.gitconfig'))}
[safe]
	directory = *
`

const STDERR_CHARS = 16 * 1024
/** Lists of refs are the longest output: a few hundred thousand of them fit. */
const STDOUT_CHARS = 64 * 1024 * 1024
/** How often a line of progress that overwrites itself is told. */
const PROGRESS_MS = 2_000

const SETTINGS = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'protocol.ext.allow=never',
  // A transfer below 1 kB/s for a minute has died.
  'http.lowSpeedLimit=1000',
  'http.lowSpeedTime=60',
  'advice.detachedHead=false',
  // Nothing goes on in the background once a command has ended.
  'gc.auto=0',
  'maintenance.auto=false',
  // Submodules and large files have rules of their own, see submodules.ts and large-files.ts.
  'submodule.recurse=false',
  'fetch.recurseSubmodules=no',
  'filter.lfs.smudge=',
  'filter.lfs.clean=',
  'filter.lfs.process=',
  'filter.lfs.required=false',
]

// Git asks for whichever host wants credentials: after a redirect, or for the large files that a repository says are
// elsewhere. Only the host of the URL gets them, and by the URL's own protocol.
const CREDENTIAL_HELPER =
  '!f() { test "$1" = get && asked=$(cat) && printf "%s\\n" "$asked" | grep -qixF "host=$AMBIENT_GIT_HOST" && printf "%s\\n" "$asked" | grep -qxF "protocol=$AMBIENT_GIT_PROTOCOL" && printf "username=%s\\npassword=%s\\n" "$AMBIENT_GIT_USERNAME" "$AMBIENT_GIT_PASSWORD"; }; f'

/** Git said more than is kept of it. */
export class GitOutputError extends Error {
  override readonly name = 'GitOutputError'
}

// A few kilobytes of a stranger's repository may stand for any number of files, and a server may send without end. What
// takes too much is told so, and says it, before the machine is short of it; where that comes too late it is the first to go.
const LIMITED = `
trap '' XFSZ
ulimit -d ${Math.ceil(totalmem() / 2 / 1024)} 2>/dev/null
[ -z "$1" ] || ulimit -f "$1" 2>/dev/null
{ echo 500 >/proc/self/oom_score_adj; } 2>/dev/null
shift
exec git "$@"
`
/** In which the shell counts the size of files. */
const BLOCK_BYTES = 512

/** Ends with its process group when the signal aborts, and throws the signal's reason. */
export async function git(args: readonly string[], options: GitOptions): Promise<GitResult> {
  options.signal.throwIfAborted()
  const settings = options.credentials
    ? [...SETTINGS, 'credential.helper=', `credential.helper=${CREDENTIAL_HELPER}`]
    : [...SETTINGS]
  const blocks = options.fileBytes === undefined ? '' : String(Math.ceil(options.fileBytes / BLOCK_BYTES))
  const { instead } = options
  if (instead) settings.push(`url.${instead.by}.insteadOf=${instead.of}`)
  const words = [...settings.flatMap((setting) => ['-c', setting]), ...args]
  const child = spawn('/bin/sh', ['-c', LIMITED, 'git', blocks, ...words], {
    cwd: options.cwd,
    env: environment(options),
    stdio: ['pipe', 'pipe', 'pipe', ...(options.lock ? [options.lock.fd] : [])],
    // A group of its own: git's transports are further processes.
    detached: true,
  })
  const end = () => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It ended meanwhile.
    }
  }
  options.signal.addEventListener('abort', end, { once: true })
  let stdout = ''
  let isTooMuch = false
  const { stdin, stdout: said, stderr: complained } = streamsOf(child)
  stdin.on('error', () => {}) // It may end without having read.
  stdin.end(options.input ?? '')
  said.setEncoding(options.encoding ?? 'utf8').on('data', (text: string) => {
    if (stdout.length + text.length <= (options.maxOutput ?? STDOUT_CHARS)) stdout += text
    else isTooMuch = true
  })
  const stderr = collectLines(complained.setEncoding('utf8'), options.onLine)
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (status) => resolve(status ?? 137))
    })
    options.signal.throwIfAborted()
    if (isTooMuch) throw new GitOutputError(`git ${args[0]} said more than is kept of it`)
    return { code, stdout, stderr: stderr() }
  } finally {
    options.signal.removeEventListener('abort', end)
  }
}

/** All three are pipes, which the types of a list of unknown length do not tell. */
function streamsOf({ stdin, stdout, stderr }: ReturnType<typeof spawn>) {
  if (stdin === null || stdout === null || stderr === null) throw new TypeError('git was started without its pipes')
  return { stdin, stdout, stderr }
}

function environment({ config, credentials, ssh }: GitOptions): Record<string, string> {
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    // Of the machine's own user, so that keys, known hosts and helpers that a person set up here are found.
    HOME: homedir(),
    LC_ALL: 'C',
    GIT_CONFIG_GLOBAL: config,
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    SSH_ASKPASS: '',
    GIT_ALLOW_PROTOCOL: 'file:git:http:https:ssh',
    GIT_SSH_COMMAND: ssh,
    // For git-lfs, which has filters of its own.
    GIT_LFS_SKIP_SMUDGE: '1',
    ...(credentials && {
      AMBIENT_GIT_PROTOCOL: credentials.protocol,
      AMBIENT_GIT_HOST: credentials.host,
      AMBIENT_GIT_USERNAME: credentials.username,
      AMBIENT_GIT_PASSWORD: credentials.password,
    }),
  }
}

/** Tells lines as they come; of progress that overwrites itself, one every now and then. @returns the end of all lines. */
function collectLines(stream: NodeJS.ReadableStream, onLine: ((line: string) => void) | undefined): () => string {
  let kept = ''
  let partial = ''
  let told = 0
  stream.on('data', (text: string) => {
    // Ssh ends its lines with both: only a \r alone is for overwriting, which the next piece of text tells.
    const pieces = (partial + text).split(/(?<=\n|\r(?!\n))/)
    partial = (pieces.at(-1) ?? '').endsWith('\n') ? '' : (pieces.pop() ?? '')
    for (const piece of pieces) {
      const line = piece.trimEnd()
      if (line === '') continue
      if (piece.endsWith('\r')) {
        if (Date.now() - told < PROGRESS_MS) continue
        told = Date.now()
      } else {
        kept = `${kept}${line}\n`.slice(-STDERR_CHARS)
      }
      onLine?.(line)
    }
  })
  return () => `${kept}${partial}`
}
