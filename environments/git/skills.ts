// The skills of a repository: folders with a SKILL.md, as they are at one commit. Read from its objects, so that nothing of
// it is ever laid out on the host's disk.
import { randomUUID } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  SKILL_FILES,
  SKILL_FILES_BYTES,
  SKILL_TEXT_BYTES,
  SKILLS_OF_REPOSITORY,
} from '../../domain/configuration/skill.ts'
import type { Repository } from '../../domain/run.ts'
import { gitOptions, remoteOf } from './access.ts'
import { commitOf } from './check-out.ts'
import { type CloneContext, cloneInto } from './clone.ts'
import { failure, refNotFound } from './failures.ts'
import { type GitOptions, git } from './git.ts'
import { withMirror } from './mirror.ts'
import { commitIn, type RemoteRefs } from './remote-refs.ts'

export interface FoundSkill {
  /** Of its SKILL.md in the repository. */
  path: string
  text: string
  /** What lies beside it, in base64, by its path in the folder. */
  files: { path: string; executable: boolean; content: string }[]
  problem: string | null
}

export interface RepositorySkills {
  /** Null: there is no commit yet. */
  revision: string | null
  skills: FoundSkill[]
}

/** In the folders where agents look for them, wherever those are; and in `skills` at the top, where collections have them. */
const SKILL = /^(?:(?:.*\/)?\.(?:agents|claude|codex|warp)\/skills|skills)\/(?:[^/]+\/)+SKILL\.md$/

/**
 * Reads them as the server has the repository now. `budget.bytes` is what they
 * may come to, and is made less by it.
 * @param scratch a directory for a clone, where there is no mirror.
 * @throws {RunFailureError} repository_unreachable, repository_unavailable, ref_not_found
 */
export async function readSkills(
  repository: Repository,
  context: Pick<CloneContext, 'access' | 'team' | 'signal'>,
  { scratch, budget }: { scratch: string; budget: { bytes: number } },
): Promise<RepositorySkills> {
  const { access, team, signal } = context
  const remote = await remoteOf(repository.url, access)
  const found = await withMirror({ remote, team, access, signal }, async (mirror) => {
    const revision = await revisionIn(repository, mirror.refs, { ...mirror.git, credentials: null })
    return await readAt(revision, { ...mirror.git, credentials: null }, budget)
  })
  if (found !== null) return found
  const directory = join(scratch, randomUUID())
  await mkdir(scratch, { recursive: true, mode: 0o700 })
  try {
    const clone = join(directory, 'clone')
    await mkdir(directory, { mode: 0o700 })
    await cloneInto(clone, repository.url, { ref: repository.ref, depth: 1 }, context)
    const options = gitOptions({ ...remote, credentials: null }, access, { cwd: clone, signal })
    const revision = await commitOf('HEAD', options)
    return revision === null ? { revision, skills: [] } : await readAt(revision, options, budget)
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function revisionIn({ url, ref }: Repository, refs: RemoteRefs, options: GitOptions): Promise<string> {
  // Of an abbreviated commit, only the objects can tell.
  const named = commitIn(refs, ref)?.commit ?? ref
  const commit = named === undefined ? null : await commitOf(named, options)
  if (commit !== null) return commit
  throw refNotFound(ref ?? 'HEAD', url, [...refs.refs.keys()].slice(0, 30).join('\n'), true)
}

interface Entry {
  mode: string
  object: string
}

async function readAt(revision: string, options: GitOptions, budget: { bytes: number }): Promise<RepositorySkills> {
  const listed = await git(['ls-tree', '-r', '-z', '--full-tree', revision], options)
  if (listed.code !== 0) throw unreadable(revision, listed.stderr)
  const tree = new Map<string, Entry>()
  for (const line of listed.stdout.split('\0')) {
    const [, mode = '', object = '', path = ''] = /^(\d+) \w+ ([0-9a-f]+)\t(.*)$/s.exec(line) ?? []
    if (path !== '') tree.set(path, { mode, object })
  }
  const paths = [...tree.keys()].filter((path) => SKILL.test(path)).sort()
  if (paths.length > SKILLS_OF_REPOSITORY)
    throw failure('invalid_run', `The repository has ${paths.length} skills; ${SKILLS_OF_REPOSITORY} are the most.`, {
      nextStep: 'Have fewer of them in one repository.',
    })
  const files = filesOf(paths, tree)
  const folders = paths.map((path) => ({ path, files: files.get(path) ?? [] }))
  const sizes = await sizesOf(
    folders.flatMap(({ path, files }) => [tree.get(path)?.object ?? '', ...files.map(({ object }) => object)]),
    options,
  )
  const skills: FoundSkill[] = []
  for (const { path, files } of folders) {
    const object = tree.get(path)?.object ?? ''
    const problem = problemOf({ own: sizes.get(object) ?? 0, files: files.map((file) => sizes.get(file.object) ?? 0) })
    if (problem !== null) {
      skills.push({ path, text: '', files: [], problem })
      continue
    }
    const bytes = [object, ...files.map((file) => file.object)].reduce((sum, one) => sum + (sizes.get(one) ?? 0), 0)
    budget.bytes -= bytes
    if (budget.bytes < 0) {
      skills.push({ path, text: '', files: [], problem: 'the skills of its environment are too large together' })
      continue
    }
    const contents = await contentsOf([object, ...files.map((file) => file.object)], options)
    const text = contents.get(object) ?? Buffer.alloc(0)
    skills.push({
      path,
      text: text.toString('utf8'),
      files: files.map((file) => ({
        path: file.path,
        executable: file.executable,
        content: (contents.get(file.object) ?? Buffer.alloc(0)).toString('base64'),
      })),
      problem: null,
    })
  }
  return { revision, skills }
}

interface FileEntry {
  path: string
  object: string
  executable: boolean
}

/**
 * What lies beside each SKILL.md, in one pass: a repository may be large. Of one skill in the folder of another the files
 * are its own. Symbolic links and submodules are left out: what they lead to may be anywhere.
 */
function filesOf(skills: readonly string[], tree: ReadonlyMap<string, Entry>): Map<string, FileEntry[]> {
  const files = new Map<string, FileEntry[]>(skills.map((path) => [path, []]))
  for (const [path, { mode, object }] of tree) {
    if (files.has(path) || !mode.startsWith('100')) continue
    for (let cut = path.lastIndexOf('/'); cut > 0; cut = path.lastIndexOf('/', cut - 1)) {
      const own = files.get(`${path.slice(0, cut)}/SKILL.md`)
      if (own === undefined) continue
      own.push({ path: path.slice(cut + 1), object, executable: mode === '100755' })
      break
    }
  }
  return files
}

function problemOf({ own, files }: { own: number; files: readonly number[] }): string | null {
  if (own > SKILL_TEXT_BYTES) return `its SKILL.md is larger than ${SKILL_TEXT_BYTES / 1024} KiB`
  if (files.length > SKILL_FILES) return `it has ${files.length} files; ${SKILL_FILES} are the most`
  const bytes = files.reduce((sum, size) => sum + size, 0)
  return bytes > SKILL_FILES_BYTES ? `its files are larger than ${SKILL_FILES_BYTES / 1024 / 1024} MiB together` : null
}

async function sizesOf(objects: readonly string[], options: GitOptions): Promise<Map<string, number>> {
  if (objects.length === 0) return new Map()
  const input = `${[...new Set(objects)].join('\n')}\n`
  const { code, stdout, stderr } = await git(['cat-file', '--batch-check=%(objectname) %(objectsize)'], {
    ...options,
    input,
  })
  if (code !== 0) throw unreadable('its objects', stderr)
  return new Map(
    stdout.split('\n').map((line) => {
      const [object = '', size] = line.split(' ')
      return [object, Number(size) || 0]
    }),
  )
}

async function contentsOf(objects: readonly string[], options: GitOptions): Promise<Map<string, Buffer>> {
  const input = `${[...new Set(objects)].join('\n')}\n`
  const { code, stdout, stderr } = await git(['cat-file', '--batch'], { ...options, input, encoding: 'latin1' })
  if (code !== 0) throw unreadable('its objects', stderr)
  const bytes = Buffer.from(stdout, 'latin1')
  const contents = new Map<string, Buffer>()
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf('\n', at)
    const [object = '', type, size] = bytes.subarray(at, end).toString('latin1').split(' ')
    if (type !== 'blob') throw unreadable(object, `${type}`)
    const begin = end + 1
    contents.set(object, bytes.subarray(begin, begin + Number(size)))
    at = begin + Number(size) + 1
  }
  return contents
}

const unreadable = (what: string, said: string) =>
  failure('repository_unavailable', `Git could not read ${what}.`, { logTail: said })
