// Runs the host's git, away from people, terminals and this process's environment.
import { spawn } from 'node:child_process'
import { homedir } from 'node:os'
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
  credentials: { username: string; password: string; host: string } | null
  signal: AbortSignal
  onLine?(line: string): void
}

/** Text of the file that stands for the user's configuration: theirs, and what clones by a service need besides. */
export const globalConfig = () => `[include]
	path = ${JSON.stringify(join(homedir(), '.gitconfig'))}
[safe]
	directory = *
`

const STDERR_CHARS = 16 * 1024
const STDOUT_CHARS = 1024 * 1024
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
]

// Git asks for whichever host wants credentials: after a redirect, or for the large files that a repository says are
// elsewhere. Only the host of the URL gets them.
const CREDENTIAL_HELPER =
  '!f() { test "$1" = get && grep -qixF "host=$AMBIENT_GIT_HOST" && printf "username=%s\\npassword=%s\\n" "$AMBIENT_GIT_USERNAME" "$AMBIENT_GIT_PASSWORD"; }; f'

/** Ends with its process group when the signal aborts, and throws the signal's reason. */
export async function git(args: readonly string[], options: GitOptions): Promise<GitResult> {
  options.signal.throwIfAborted()
  const settings = options.credentials
    ? [...SETTINGS, 'credential.helper=', `credential.helper=${CREDENTIAL_HELPER}`]
    : SETTINGS
  const child = spawn('git', [...settings.flatMap((setting) => ['-c', setting]), ...args], {
    cwd: options.cwd,
    env: environment(options),
    stdio: ['ignore', 'pipe', 'pipe'],
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
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (stdout.length < STDOUT_CHARS) stdout += text
  })
  const stderr = collectLines(child.stderr.setEncoding('utf8'), options.onLine)
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (status) => resolve(status ?? 137))
    })
    options.signal.throwIfAborted()
    return { code, stdout, stderr: stderr() }
  } finally {
    options.signal.removeEventListener('abort', end)
  }
}

function environment({ config, credentials }: GitOptions): Record<string, string> {
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
    GIT_SSH_COMMAND: 'ssh -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=accept-new',
    ...(credentials && {
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
    const pieces = (partial + text).split(/(?<=[\r\n])/)
    partial = /[\r\n]$/.test(pieces.at(-1) ?? '') ? '' : (pieces.pop() ?? '')
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
