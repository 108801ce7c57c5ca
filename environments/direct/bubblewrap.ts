// Bubblewrap around a sandbox on the bare machine: it sees the system's directories, and of everything else what is its run's.
import { execFile } from 'node:child_process'
import {
  access,
  constants,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readlink,
  realpath,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { logTail } from '../../domain/failure.ts'
import { isErrno } from '../errno.ts'
import { NEW_NAMESPACE } from '../namespace.ts'
import type { Owner } from '../run-directory.ts'
import type { Boundary, Inside } from './boundary.ts'

const run = promisify(execFile)

/** Making one takes milliseconds; a machine that needs longer is out of order. */
const TRY_MS = 10_000

/** Seen read-only, where they are there. */
const SYSTEM = [
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/etc',
  '/opt',
  '/nix',
  '/sys/fs/cgroup',
]
/** What is in memory has an end. In bytes. */
const TMPFS_BYTES = 1024 ** 3

export interface BubblewrapOptions {
  /** Where its programs are looked for. */
  path: string
  nodePath: string
  /** Whose processes those of the sandbox are. */
  owner: Owner
  /** Directories and files that are not to be seen although they may be below one of the system's. */
  hidden: readonly string[]
}

/** @throws when this machine has no bubblewrap, or does not let this user make a sandbox. */
export async function createBubblewrap(options: BubblewrapOptions): Promise<Boundary> {
  const isRoot = process.getuid?.() === 0
  const [unshare, bwrap, nsenter, setpriv] = [
    await find('unshare', options.path),
    await find('bwrap', options.path),
    await find('nsenter', options.path),
    await find('setpriv', options.path),
  ]
  // Whoever is not root becomes it in a user namespace, where it may mount and not more.
  const namespaces = [unshare, ...(isRoot ? [] : ['--user', '--map-root-user']), ...NEW_NAMESPACE.slice(1)]
  const { uid, gid } = options.owner
  const drop = ['--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all', '--']
  // What makes the sandbox keeps its rights; every program in it is an ordinary user's.
  const become = isRoot
    ? [setpriv, `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', ...drop]
    : [unshare, '--user', `--map-user=${uid}`, `--map-group=${gid}`, '--', setpriv, ...drop]
  const boundary: Boundary = {
    kind: 'bwrap',
    make: async (sandbox) => [...namespaces, bwrap, ...(await view(options, sandbox)), '--'],
    enter: (pid) => [
      ...[nsenter, '--target', String(pid), ...(isRoot ? [] : ['--user', '--preserve-credentials'])],
      ...['--mount', '--pid', '--ipc', '--uts', '--', ...become],
    ],
  }
  await prove(boundary, become)
  return boundary
}

/** By its full path: what a program of a sandbox may have put elsewhere must not be taken for it. */
async function find(name: string, path: string): Promise<string> {
  for (const directory of path.split(':')) {
    if (!directory.startsWith('/') || directory.includes(' ')) continue
    const candidate = join(directory, name)
    const isThere = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return candidate
  }
  throw unusable(`there is no ${name} on the PATH`)
}

/** Makes one, and has a program in it become the sandbox's user. */
async function prove(boundary: Boundary, become: readonly string[]): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'ambient-bwrap-'))
  try {
    const paths = {
      workspace: join(root, 'workspace'),
      home: join(root, 'home'),
      tmp: join(root, 'tmp'),
      jobs: join(root, 'jobs'),
    }
    for (const path of Object.values(paths)) await mkdir(path)
    const [program = '', ...words] = await boundary.make({ paths, agent: { root }, toolkit: null })
    await run(program, [...words, ...become, '/bin/sh', '-c', 'exit 0'], { timeout: TRY_MS })
  } catch (error) {
    throw unusable(logTail(error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error)))
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

const unusable = (why: string) =>
  new Error(
    `AMBIENT_DIRECT_SANDBOX is bwrap, and no sandbox can be made with it here: ${why.trim()}. It needs bubblewrap and util-linux ` +
      '(apt-get install bubblewrap util-linux) and, where Ambient is not root, a kernel that lets users make user namespaces.',
  )

/** What is seen from inside, in the order in which it is mounted. */
async function view(
  { nodePath, owner, hidden }: BubblewrapOptions,
  { paths, agent, toolkit }: Inside,
): Promise<string[]> {
  const own = [paths.workspace, paths.home, paths.tmp, paths.jobs]
  const given = [nodePath, ...(toolkit === null ? [] : [toolkit])]
  const points = [...own, ...given]
  const limited = ['--perms', '1777', '--size', String(TMPFS_BYTES), '--tmpfs']
  // Mount points are made in what is mounted already: never in a directory that the sandbox's programs write to, where
  // they may have put links.
  const tmp = points.some((path) => isBelow('/tmp', path)) ? [...limited, '/tmp'] : ['--bind', paths.tmp, '/tmp']
  const { directories, files } = await coveredOf(hidden)
  return [
    ...(await Promise.all(SYSTEM.map(systemDirectory))).flat(),
    ...(await resolver()),
    ...(await userNames(agent, paths, owner)),
    ...['--proc', '/proc', '--dev', '/dev', ...limited, '/dev/shm', ...tmp],
    ...['--dir', '/var', '--symlink', '/tmp', '/var/tmp'],
    ...directories.flatMap((path) => ['--tmpfs', path]),
    ...files.flatMap((path) => ['--ro-bind', '/dev/null', path]),
    ...[...new Set(points.flatMap(ancestors))].flatMap((path) => ['--perms', '0755', '--dir', path]),
    ...given.flatMap((path) => ['--ro-bind', path, path]),
    ...own.flatMap((path) => ['--bind', path, path]),
    ...['/', ...directories].flatMap((path) => ['--remount-ro', path]),
    ...['--unshare-ipc', '--unshare-uts', '--chdir', '/'],
  ]
}

/** What of it would be seen, by its own name: it may have been named by a link. */
async function coveredOf(hidden: readonly string[]): Promise<{ directories: string[]; files: string[] }> {
  const directories: string[] = []
  const files: string[] = []
  for (const path of hidden) {
    const real = await realpath(path).catch(() => null) // Nothing is there.
    if (real === null || !SYSTEM.some((directory) => isBelow(directory, real))) continue
    const isDirectory = (await stat(real)).isDirectory()
    ;(isDirectory ? directories : files).push(real)
  }
  return { directories, files: files.filter((path) => !directories.some((directory) => isBelow(directory, path))) }
}

const isBelow = (directory: string, path: string) => path.startsWith(`${directory}/`)

async function systemDirectory(path: string): Promise<string[]> {
  try {
    const isLink = (await lstat(path)).isSymbolicLink()
    return isLink ? ['--symlink', await readlink(path), path] : ['--ro-bind', path, path]
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

/** Where the machine's names are resolved by a service, the file that says how is that service's. */
async function resolver(): Promise<string[]> {
  const file = await realpath('/etc/resolv.conf').catch(() => null) // None: no names are resolved on this machine.
  return file === null || isBelow('/etc', file) ? [] : ['--ro-bind', file, file]
}

/** Programs ask for the name of their user; one that the machine does not know is told here. */
async function userNames(agent: Inside['agent'], { home }: Inside['paths'], { uid, gid }: Owner): Promise<string[]> {
  const known = await readFile('/etc/passwd', 'utf8')
  if (known.split('\n').some((line) => line.split(':')[2] === String(uid))) return []
  const file = join(agent.root, 'passwd')
  await writeFile(file, `${known}agent:x:${uid}:${gid}::${home}:/bin/sh\n`, { mode: 0o644 })
  return ['--ro-bind', file, '/etc/passwd']
}

/** From the outside in, without the root itself. */
function ancestors(path: string): string[] {
  const parent = dirname(path)
  return parent === '/' ? [] : [...ancestors(parent), parent]
}
